"""What an exported program may name: operators, containers, notes. Everything else is refused.

Operators of other namespaces would need code that registers them. Of torch's own, a few do more than compute.
"""

from __future__ import annotations

import re


def words(text: str) -> frozenset[str]:
    """The words of a table."""
    return frozenset(text.split())


_OPERATOR = re.compile(r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.(\w+)\.(\w+)")
_HIGHER_ORDER = re.compile(r"torch\.ops\.higher_order\.(\w+)")
# These read or write files, print, or wait for other threads.
_BEYOND_TENSORS = words("save load from_file warn _print wait")
_WITH_GRAPHS = words(
    """cond while_loop scan associative_scan map map_impl out_dtype invoke_subgraph wrap
    wrap_with_autocast wrap_with_set_grad_enabled flex_attention hints_wrapper strict_mode
    tag_activation_checkpoint wrap_activation_checkpoint"""
)
_ARITHMETIC = words(
    """_operator.add _operator.sub _operator.mul _operator.truediv _operator.floordiv _operator.mod
    _operator.pow _operator.neg _operator.abs _operator.pos _operator.eq _operator.ne
    _operator.lt _operator.le _operator.gt _operator.ge _operator.and_ _operator.or_ _operator.not_
    _operator.lshift _operator.rshift _operator.getitem
    math.ceil math.floor math.trunc math.sqrt
    torch.sym_int torch.sym_float torch.sym_ite torch.sym_max torch.sym_min torch.sym_not torch.sym_sqrt
    torch.sym_sum torch._sym_sqrt torch._sym_cos torch._sym_sin torch._sym_tan torch._sym_cosh torch._sym_sinh
    torch._sym_tanh torch._sym_acos torch._sym_asin torch._sym_atan torch._sym_log2"""
)

CONTAINERS = words(
    """builtins.tuple builtins.list builtins.dict collections.OrderedDict collections.deque torch.Size
    torch.fx.immutable_collections.immutable_list torch.fx.immutable_collections.immutable_dict"""
)

NOTES = words("stack_trace nn_module_stack source_fn_stack torch_fn custom from_node")

# Functions in the text of a size. sympy knows many more, and some evaluate their arguments.
SIZE_FUNCTIONS = words(
    """Integer Rational Add Mul Pow Max Min Abs Mod Eq Ne Lt Le Gt Ge Equality Unequality StrictLessThan
    LessThan StrictGreaterThan GreaterThan And Or Not Piecewise ExprCondPair Tuple floor ceiling sqrt
    FloorDiv ModularIndexing Where PythonMod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift
    PowByNatural FloatPow FloatTrueDiv IntTrueDiv IsNonOverlappingAndDenseIndicator TruncToFloat
    TruncToInt RoundToInt RoundDecimal ToFloat Identity"""
)

GUARD_METHODS = words("size stride storage_offset dim numel")
GUARD_FUNCTIONS = words(
    "max min abs int float bool round len IsNonOverlappingAndDenseIndicator cast_symbool_to_symint_guardless"
)
GUARD_MATH = words("ceil floor trunc sqrt isnan pow inf log2 exp log")
GUARD_TORCH = words("sym_max sym_min sym_int sym_float sym_not sym_ite")


def is_operator(name: str) -> bool:
    """True when a node may call ``name``: torch's own operators on tensors, and arithmetic of sizes."""
    if found := _OPERATOR.fullmatch(name):
        return found[2] not in _BEYOND_TENSORS and "__" not in found[3]
    if found := _HIGHER_ORDER.fullmatch(name):
        return found[1] in _WITH_GRAPHS
    return name in _ARITHMETIC
