"""How a script refuses an input."""


class InputError(ValueError):
    """A bad input, in one sentence."""

    def __init__(self, template: str, **values: object):
        super().__init__(template.format(**values))
