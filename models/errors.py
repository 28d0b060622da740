"""The one way in which Loupe refuses an input: a sentence for the person who gave it."""


class InputError(ValueError):
    """A bad input: an English sentence as a template, and the values that belong in it.

    The page translates ``template`` and then puts ``values`` in, so that the sentence reaches the
    person in their own language; ``str(error)`` is the English sentence.
    """

    def __init__(self, template: str, **values: object):
        super().__init__(template.format(**values))
        self.template = template
        self.values = values

    @classmethod
    def again(cls, template: str, values: dict[str, object]) -> "InputError":
        """A refusal that was raised elsewhere, from its parts."""
        return cls(template, **values)
