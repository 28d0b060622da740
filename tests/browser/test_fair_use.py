"""Several people at once: who waits is told the place, and goes on when another one leaves."""

from playwright.sync_api import expect

from models.runtime.settings import settings
from tests.browser.driving import button, ready

# Minutes of work, so that nobody is done before the last one has come.
LONG = "/optimizers?optimizers_view=training&optimizers_training_steps=1000&optimizers_layers=12"
SOON = 15_000  # milliseconds: less than the patience with those who are connected and no longer ask


def test_a_run_ends_when_its_person_leaves_and_the_next_one_begins(new_context):
    people = []
    for _ in range(settings().heavy_at_once + 1):
        page = new_context().new_page()
        page.goto(LONG)
        ready(page)
        button(page, "Start").click()
        expect(button(page, "Stop")).to_be_visible()
        people.append(page)
    first, *_others, last = people
    waiting = last.get_by_text("Your place in the queue: 1")
    expect(waiting).to_be_visible()
    first.context.close()
    expect(waiting).to_be_hidden(timeout=SOON)
    # For a moment the progress that is drawn anew stands beside the one before it.
    expect(last.get_by_text("of 1000 steps").first).to_be_visible()
    for page in people[1:]:
        button(page, "Stop").click()
        expect(button(page, "Stop")).to_be_hidden()
