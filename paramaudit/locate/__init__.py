"""Where two models differ: which stored numbers are others, and the first node where it shows."""

from paramaudit.locate.align import align
from paramaudit.locate.changes import changed_numbers
from paramaudit.locate.first import first_difference

__all__ = ["align", "changed_numbers", "first_difference"]
