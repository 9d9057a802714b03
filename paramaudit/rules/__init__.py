"""The analysis' rules as data, and the verdict that joins rule and evidence."""

from paramaudit.rules.parse import Rule, load_rules, match
from paramaudit.rules.verdict import ModuleCount, verdicts

__all__ = ["ModuleCount", "Rule", "load_rules", "match", "verdicts"]
