"""Vectors as wide as the processor's registers, and the instructions on them, for `registers.py`.

Numba has no vectors of its own. Sums are never reordered here; a product and a sum may be fused.
"""

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from ..layers.record import CACHE_LINE

REGISTER = CACHE_LINE if llvmlite.binding.get_host_cpu_features().get("avx512f") else CACHE_LINE // 2  # bytes
FUSED = ("nsz", "contract")
INDEX = ir.IntType(32)


class Vector(types.Type):
    """As many numbers as a register holds."""

    def __init__(self, dtype):
        self.dtype, self.lanes = dtype, 8 * REGISTER // dtype.bitwidth
        super().__init__(name=f"Vector({dtype} x {self.lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """In LLVM, <lanes x float> or <lanes x double>."""

    def __init__(self, manager, kind):
        scalar = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(scalar, kind.lanes))


# ---------------------------------------------------------------------- instructions


def _address(context, builder, kind, value, at, pointer):
    """The address of `value[at]`, `at` being a tuple."""
    array = context.make_array(kind)(context, builder, value)
    wide = context.get_value_type(types.intp)
    indices = [i if i.type == wide else builder.sext(i, wide) for i in cgutils.unpack_tuple(builder, at)]
    item = cgutils.get_item_pointer(context, builder, kind, array, indices, wraparound=False)
    return builder.bitcast(item, pointer)


@intrinsic
def load(typing, array, at):
    """The vector that begins at array[at]; uint16 are the upper halves of float32, as bfloat16 keeps them."""
    halves = array.dtype == types.uint16
    vector = Vector(types.float32 if halves else array.dtype)

    def generate(context, builder, signature, values):
        form = context.get_value_type(vector)
        stored = ir.VectorType(ir.IntType(16), form.count) if halves else form
        place = _address(context, builder, signature.args[0], *values, stored.as_pointer())
        read = builder.load(place, align=array.dtype.bitwidth // 8)
        return _widened(builder, read, form) if halves else read

    return vector(array, at), generate


def _widened(builder, halves, form):
    """Upper halves of float32 as float32: the lower half is 0."""
    wide = ir.VectorType(INDEX, form.count)
    bits = builder.shl(builder.zext(halves, wide), ir.Constant(wide, [16] * form.count))
    return builder.bitcast(bits, form)


@intrinsic
def store(typing, array, at, vector):
    """Put the vector where array[at] begins."""

    def generate(context, builder, signature, values):
        place = _address(context, builder, signature.args[0], *values[:2], values[2].type.as_pointer())
        builder.store(values[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, at, vector), generate


@intrinsic
def stream(typing, array, at, vector):
    """As `store`, past the caches; array[at] begins a register's width of memory."""

    def generate(context, builder, signature, values):
        place = _address(context, builder, signature.args[0], *values[:2], values[2].type.as_pointer())
        written = builder.store(values[2], place, align=REGISTER)
        written.set_metadata("nontemporal", builder.module.add_metadata([INDEX(1)]))
        return context.get_dummy_value()

    return types.void(array, at, vector), generate


@intrinsic
def everywhere(typing, number):
    """The vector that holds the number in all lanes."""
    vector = Vector(number)

    def generate(context, builder, signature, values):
        form = context.get_value_type(vector)
        undefined, lanes = ir.Constant(form, ir.Undefined), ir.VectorType(INDEX, form.count)
        first = builder.insert_element(undefined, values[0], INDEX(0))
        return builder.shuffle_vector(first, undefined, ir.Constant(lanes, [0] * form.count))

    return vector(number), generate


@intrinsic
def multiply_add(typing, a, b, c):
    """a b + c, lane by lane; one instruction where the processor has it."""

    def generate(context, builder, signature, values):
        return builder.fadd(builder.fmul(values[0], values[1], flags=FUSED), values[2], flags=FUSED)

    return a(a, b, c), generate


@intrinsic
def plus(typing, a, b):
    """a + b, lane by lane."""
    return a(a, b), lambda context, builder, signature, values: builder.fadd(*values)


@intrinsic
def total(typing, vector):
    """The sum of all lanes: halves, quarters, and so on."""

    def generate(context, builder, signature, values):
        x, n = values[0], vector.lanes
        while n > 1:
            n //= 2
            undefined, lanes = ir.Constant(x.type, ir.Undefined), ir.VectorType(INDEX, n)
            low = builder.shuffle_vector(x, undefined, ir.Constant(lanes, list(range(n))))
            high = builder.shuffle_vector(x, undefined, ir.Constant(lanes, list(range(n, 2 * n))))
            x = builder.fadd(low, high)
        return builder.extract_element(x, INDEX(0))

    return vector.dtype(vector), generate


@intrinsic
def wait_for_stores(typing):
    """Everybody sees what was written before."""
    return types.void(), lambda context, builder, signature, values: _emit_fence(context, builder)


def _emit_fence(context, builder):
    builder.fence("seq_cst")
    return context.get_dummy_value()


@intrinsic
def prefetch_item(typing, rows, at):
    """llvm.prefetch of the address of rows[at] into the second-level cache; nothing, should llvmlite have changed."""

    def generate(context, builder, signature, values):
        try:
            byte = ir.IntType(8).as_pointer()
            form = ir.FunctionType(ir.VoidType(), [byte, INDEX, INDEX, INDEX])
            hint = builder.module.declare_intrinsic("llvm.prefetch", [byte], form)
            read, second_level, data = INDEX(0), INDEX(2), INDEX(1)
            place = _address(context, builder, signature.args[0], *values, byte)
            builder.call(hint, [place, read, second_level, data])
        except (AttributeError, TypeError, NotImplementedError):
            pass
        return context.get_dummy_value()

    return types.void(rows, at), generate


def lanes_of(array):
    """How many of an array's numbers fill a register."""
    return Vector(array.dtype).lanes
