"""Whole transformers, counted from a short description: parameters, FLOPs by context length, Amdahl's law.

    model = presets.get("bert-base")                 a `Transformer`; or describe your own
    model.parameters(), model.engaged()              by component; stored, and read for one token
    model.multiply_adds(context)                     by component, for a whole sequence
    model.flops_per_token(context)                   2 multiply-adds, divided by the tokens
    model.ff_share(context)                          the feedforward layers' part of that
    model.speed_up(factor, context)                  of the whole, if the feedforward layers become that much faster
    model.crossover()                                from which context on attention outweighs them

Only matrix products are counted in a model, as is usual: norms, softmax, activations and residual sums are below a
hundredth of them at the sizes below. Looking up an embedding costs nothing.

# n context, w width of the model, h heads of width d, g heads of keys and values
"""

from dataclasses import dataclass, replace

from .. import checks
from .counts import Count, amdahl
from .published import Published

FURTHEST = 2**40  # no context is longer


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A stack of equal blocks of attention and feedforward layer, between embedding and output.

    Parameters
    ----------
    layers, width, heads : int
    ff : Count
        One block's feedforward layer, such as `counting.path_fff(width, width, depth=11)`.
    vocabulary : int
    kv_heads, head_width : int, optional
        Heads of keys and values, where several heads of queries share one (otherwise `heads`); the width of a head
        (otherwise `width / heads`).
    qkv_bias, out_bias : bool
        Biases of the attention's projections; those of the feedforward layer are the matter of `ff`.
    norm : {"layer", "rms"}
        A LayerNorm has a scale and a shift per channel, an RMSNorm the scale alone. Two norms a block.
    embedding_norm, final_norm : bool
    positions, token_types : int
        Rows of a learned position embedding, and of BERT's segment embedding.
    pooler : bool
        BERT's dense layer on the first token.
    head : {None, "tied", "untied"}
        Output matrix onto the vocabulary: none, the token embedding once more, or one of its own.
    head_transform : bool
        BERT's dense layer and norm before that matrix, with the bias after it.
    causal : bool
        A token sees those before it and itself; otherwise all.
    window : int, optional
        How many it sees at most, if causal.
    further : int
        Parameters that are nowhere else.
    published : Published, optional
    note : str
    """

    layers: int
    width: int
    heads: int
    ff: Count
    vocabulary: int
    kv_heads: int | None = None
    head_width: int | None = None
    qkv_bias: bool = True
    out_bias: bool = True
    norm: str = "layer"
    embedding_norm: bool = False
    final_norm: bool = False
    positions: int = 0
    token_types: int = 0
    pooler: bool = False
    head: str | None = None
    head_transform: bool = False
    causal: bool = False
    window: int | None = None
    further: int = 0
    published: Published | None = None
    note: str = ""

    def __post_init__(self):
        """Refuse what does not fit together."""
        for name in ("layers", "width", "heads", "vocabulary"):
            checks.integer(name, getattr(self, name), 1)
        for name in ("positions", "token_types", "further"):
            checks.integer(name, getattr(self, name), 0)
        for name in ("kv_heads", "head_width", "window"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), 1)
        for name in ("qkv_bias", "out_bias", "embedding_norm", "final_norm", "pooler", "head_transform", "causal"):
            checks.flag(name, getattr(self, name))
        for name, kind in (("ff", Count), ("published", Published | None)):
            if not isinstance(getattr(self, name), kind):
                raise checks.InputTypeError(
                    f"{name} must be a {getattr(kind, '__name__', kind)}, got {checks.shown(getattr(self, name))}"
                )
        # what would count silently wrong: heads that leave a remainder, a layer of another width
        checks.one_of("norm", self.norm, ("layer", "rms"))
        checks.one_of("head", self.head, (None, "tied", "untied"))
        if self.head_width is None and self.width % self.heads:
            raise checks.InputError(f"heads must divide width, got {self.heads} and {self.width}; or give head_width")
        if self.heads % self.groups:
            raise checks.InputError(f"kv_heads must divide heads, got {self.groups} and {self.heads}")
        if self.window is not None and not self.causal:
            raise checks.InputError("window is for causal models; pass causal=True")
        if (self.ff.n_in, self.ff.n_out) != (self.width, self.width):
            raise checks.InputError(f"ff must lead from {self.width} to {self.width}, got {self.ff.name}")

    @property
    def groups(self):
        """Heads of keys and values."""
        # without grouping, a head of keys for each of queries
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def queries(self):
        """Numbers in a token's queries, all heads: h d."""
        return self.heads * (self.width // self.heads if self.head_width is None else self.head_width)

    @property
    def qkv(self):
        """Numbers in a token's queries, keys and values: (h + 2 g) d."""
        return self.queries * (self.heads + 2 * self.groups) // self.heads  # exact: queries are heads times d

    # ------------------------------------------------------------------ parameters

    def parameters(self):
        """Scalars stored, a dict by component."""
        w = self.width
        norm = w * (2 if self.norm == "layer" else 1)  # scale and shift, or the scale alone
        # in: w -> (h + 2 g) d; out: h d -> w
        attention = w * self.qkv + self.qkv_bias * self.qkv + self.queries * w + self.out_bias * w
        return {
            "embeddings": (self.vocabulary + self.positions + self.token_types) * w,
            "attention": self.layers * attention,
            "feedforward": self.layers * self.ff.parameters,
            "norms": (2 * self.layers + self.embedding_norm + self.final_norm) * norm,  # two a block
            "pooler": self.pooler * w * (w + 1),  # a matrix and its bias
            "head": (self.head == "untied") * self.vocabulary * w
            + self.head_transform * (w * (w + 1) + norm + self.vocabulary),  # dense layer, norm, and a bias a word
            "other": self.further,
        }

    def engaged(self):
        """Scalars that one token's way through the model reads, a dict by component.

        A row of each embedding, the engaged part of the feedforward layers, all of the rest. A tied output matrix
        is read whole: it stands under "head".
        """
        stored = self.parameters()
        return stored | {
            "embeddings": (1 + bool(self.positions) + bool(self.token_types)) * self.width,  # a row of each table
            "feedforward": self.layers * self.ff.parameters_engaged,
            "head": stored["head"] + (self.head == "tied") * self.vocabulary * self.width,
        }

    @property
    def n_parameters(self):
        """Scalars stored."""
        return sum(self.parameters().values())

    # ------------------------------------------------------------------ work

    def pairs(self, context, new=None):
        """Pairs of a token and a token that it sees, for the last `new` tokens of `context` (all)."""
        context, new = self._tokens(context, new)
        if not self.causal:
            return new * context  # every token sees every token
        window = context if self.window is None else self.window  # no window: all that came before

        def seen(n):
            """Sum of min(i, window) for i = 1 .. n."""
            full = max(n - window, 0)  # tokens whose window is full
            return (n - full) * (n - full + 1) // 2 + full * window  # 1 + 2 + ... + min(n, window), then full windows

        return seen(context) - seen(context - new)  # those of the tokens before are in the cache

    def multiply_adds(self, context, new=None):
        """Multiply-adds of the forward pass, a dict by component.

        Parameters
        ----------
        context : int
            Tokens of the sequence.
        new : int, optional
            How many of them, at its end, are computed: all unless told otherwise. 1 is a step of generation, with
            keys and values of the tokens before in a cache.

        Returns
        -------
        dict of str to int
            "projections" of queries, keys, values and output; "scores", q . k and the sums of values; "feedforward";
            "pooler", once; "head", for each token computed.
        """
        context, new = self._tokens(context, new)
        w = self.width
        head = (self.head is not None) * w * self.vocabulary + self.head_transform * w * w
        return {
            # q, k, v in and the output, for new tokens only
            "projections": new * self.layers * w * (self.qkv + self.queries),
            # q . k and the sum of v: h d each, a pair
            "scores": self.pairs(context, new) * self.layers * 2 * self.queries,
            "feedforward": new * self.layers * self.ff.inference.multiply_adds,
            "pooler": self.pooler * w * w,  # on the first token, once a sequence
            "head": new * head,
        }

    def flops_per_token(self, context, new=None):
        """Two FLOPs a multiply-add, divided by the tokens computed; a dict by component, of floats."""
        parts = self.multiply_adds(context, new)
        return {name: 2 * part / (context if new is None else new) for name, part in parts.items()}

    def ff_share(self, context, new=None):
        """The feedforward layers' share of all multiply-adds."""
        parts = self.multiply_adds(context, new)
        return parts["feedforward"] / sum(parts.values())

    def speed_up(self, factor, context, new=None):
        """Amdahl: how much faster the model were if its feedforward layers were `factor` times as fast.

        Parameters
        ----------
        factor : float above 0
            `math.inf` for the limit.
        context, new : int
            As in `multiply_adds`.

        Returns
        -------
        float
            If time went with multiply-adds. It does not quite; a profile of a real run gives a better share, and
            `counting.amdahl` takes it.
        """
        return amdahl(self.ff_share(context, new), factor)

    def crossover(self, projections=True, new=None):
        """Return the shortest context at which attention takes as many multiply-adds as the feedforward layers.

        Parameters
        ----------
        projections : bool
            Whether attention's four matrices count as attention, beside the scores and sums of values.
        new : int, optional
            As in `multiply_adds`: 1 for the last token rather than for the whole sequence.

        Returns
        -------
        int or None
            None if the window keeps it from ever getting there.
        """

        def attention_leads(context):
            """Whether attention takes at least as many multiply-adds as the FF layers."""
            parts = self.multiply_adds(context, None if new is None else min(new, context))
            return parts["scores"] + projections * parts["projections"] >= parts["feedforward"]

        projections = checks.flag("projections", projections)
        new = None if new is None else checks.integer("new", new, 1, FURTHEST)
        # attention's share only grows with the context, so bisection finds where it takes the lead
        below, above = 0, FURTHEST
        if not attention_leads(above):
            return None
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (below, middle) if attention_leads(middle) else (middle, above)
        return above

    @staticmethod
    def _tokens(context, new):
        """Both numbers, checked; all tokens are new unless told otherwise."""
        context = checks.integer("context", context, 1, FURTHEST)
        return context, context if new is None else checks.integer("new", new, 1, context)

    def with_ff(self, ff, note=""):
        """The same model around another feedforward layer; nobody has published its size."""
        return replace(self, ff=ff, published=None, note=note)
