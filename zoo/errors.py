"""The one kind of error that Python does not show well by itself."""


class UnknownNameError(KeyError):
    """A name that is not known here, or is known and missing: a task, a model type, a tensor.

    It is a `KeyError` that reads as its message; the built-in one shows it between quotes.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()
