"""Long work: one queue, one way to run, stop and show progress.

A view names its run in every rerun, and a stage shows it::

    run = work.run("optimizers_training", training, lambda: train(training), training.steps)
    work.stage(run, draw, recorded=lambda: recorded_run(training))

The generator runs on a thread of its own (job.py), for as long as its person looks at the stage, one a
session and so many in the process (queue.py). Results stay with the session, under the settings that
they were computed for (runs.py). drawing.py has the buttons, the progress and the timer.
"""

from components.work.drawing import BUTTONS, Draw, stage
from components.work.job import stop_all
from components.work.queue import QUEUE
from components.work.runs import STEPS, Progress, Run, forget, run

__all__ = ["BUTTONS", "QUEUE", "STEPS", "Draw", "Progress", "Run", "forget", "run", "stage", "stop_all"]
