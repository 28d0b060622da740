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


def check_at_least(least: int, **counts: int) -> None:
    """Raises InputError, with its name, on a count below ``least``."""
    for name, count in counts.items():
        if count < least:
            raise InputError(
                "{name} is {count}; whole numbers from {least} on are accepted.",
                name=name.replace("_", " "),
                count=count,
                least=least,
            )
