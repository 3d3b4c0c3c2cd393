"""remote.py -- models whose code is published beside their checkpoints: Baichuan and ChatGLM 2 and 3,
written from the formulas (models.md 3 to 6) as a plain float64 forward."""
import json, math, os
import numpy as np, torch

FIXTURES = {
    "baichuan-7b": dict(model_type="baichuan", architectures=["BaichuanForCausalLM"],
                        hidden_size=48, num_attention_heads=3, intermediate_size=80,
                        num_hidden_layers=2, vocab_size=131, max_position_embeddings=64,
                        rms_norm_eps=2e-3, hidden_act="silu", tie_word_embeddings=False,
                        woq_position="rope", woq_head_rownorm=True, torch_dtype="float32"),
    "baichuan-13b": dict(model_type="baichuan", architectures=["BaichuanForCausalLM"],
                         hidden_size=48, num_attention_heads=3, intermediate_size=80,
                         num_hidden_layers=2, vocab_size=131, model_max_length=64,
                         rms_norm_eps=2e-3, hidden_act="silu", tie_word_embeddings=False,
                         woq_position="alibi", woq_head_rownorm=False, torch_dtype="float32"),
    "chatglm": dict(model_type="chatglm", architectures=["ChatGLMForConditionalGeneration"],
                    hidden_size=48, num_attention_heads=6, kv_channels=8,
                    multi_query_attention=True, multi_query_group_num=2, ffn_hidden_size=80,
                    num_layers=2, padded_vocab_size=136, seq_length=64, layernorm_epsilon=2e-3,
                    rmsnorm=True, add_bias_linear=False, add_qkv_bias=True, post_layer_norm=True,
                    apply_residual_connection_post_layernorm=False, rope_ratio=2,
                    tie_word_embeddings=False, torch_dtype="float32"),
}
# The same keys as chatglm3-6b-32k but for the name; positions are divided by rope_ratio (models.md 5.3).
FIXTURES["chatglm2-32k"] = dict(FIXTURES["chatglm"], _name_or_path="THUDM/chatglm2-6b-32k",
                                architectures=["ChatGLMModel"], rope_ratio=16)


def rms(x, w, eps):
    return w * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def slopes(n):
    c = 1 << int(math.log2(n))
    return [2.0 ** (-8 * (h + 1) / c) if h < c else 2.0 ** (-8 * (2 * (h - c) + 1) / (2 * c))
            for h in range(n)]


def turn(x, n_rot, theta, paired, divisor=1.0):
    """x [T, heads, D]"""
    angle = torch.arange(x.shape[0], dtype=torch.float64)[:, None] / divisor * \
        theta ** (-torch.arange(0, n_rot, 2, dtype=torch.float64) / n_rot)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    r, rest = x[..., :n_rot], x[..., n_rot:]
    if paired:
        a, b = r[..., 0::2], r[..., 1::2]
        r = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    else:
        a, b = r[..., :n_rot // 2], r[..., n_rot // 2:]
        r = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    return torch.cat([r, rest], -1)


def attend(q, k, v, alibi):
    n = q.shape[0]
    share = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
    s = torch.einsum("iad,jad->aij", q, k) / math.sqrt(q.shape[-1])
    if alibi:
        j = torch.arange(n, dtype=torch.float64)
        s = s + torch.tensor(slopes(q.shape[1]), dtype=torch.float64)[:, None, None] * j
    s = s.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
    return torch.einsum("aij,jad->iad", s.softmax(-1), v).flatten(1)


def record(folder, name, make, ids):
    c = FIXTURES[name]
    glm = c["model_type"] == "chatglm"
    h, heads = c["hidden_size"], c["num_attention_heads"]
    vocab = c.get("vocab_size") or c["padded_vocab_size"]
    eps = c["layernorm_epsilon" if glm else "rms_norm_eps"]
    inter = c["ffn_hidden_size" if glm else "intermediate_size"]
    kv = c["multi_query_group_num"] if glm else heads
    dim = c["kv_channels"] if glm else h // heads
    at = "transformer.encoder.layers.%d." if glm else "model.layers.%d."
    att, mlp = ("self_attention", "mlp.dense_%s") if glm else ("self_attn", "mlp.%s")
    lines = []

    def w(tensor, *shape):
        lines.append("%s %s" % (tensor, "x".join(map(str, shape))))
        return make(tensor, list(shape), False).double()

    x = w("transformer.embedding.word_embeddings.weight" if glm else "model.embed_tokens.weight",
          vocab, h)[ids(vocab)[0]]
    for l in range(c["num_layers" if glm else "num_hidden_layers"]):
        b = at % l
        n = rms(x, w(b + "input_layernorm.weight", h), eps)
        fused = b + att + (".query_key_value" if glm else ".W_pack")
        qkv = n @ w(fused + ".weight", (heads + 2 * kv) * dim, h).t()
        if glm:
            qkv = qkv + w(fused + ".bias", (heads + 2 * kv) * dim)
        q, k, v = (y.unflatten(1, (-1, dim)) for y in
                   qkv.split([heads * dim, kv * dim, kv * dim], 1))
        if glm:
            second = "chatglm2" in c.get("_name_or_path", "")
            theta, divisor = (1.0, c["rope_ratio"]) if second else (c["rope_ratio"], 1.0)
            q, k = (turn(y, dim // 2, 10000.0 * theta, True, divisor) for y in (q, k))
        elif c["woq_position"] == "rope":
            q, k = (turn(y, dim, 10000.0, False) for y in (q, k))
        o = attend(q, k, v, not glm and c["woq_position"] == "alibi")
        x = x + o @ w(b + att + (".dense" if glm else ".o_proj") + ".weight", h, heads * dim).t()
        n = rms(x, w(b + "post_attention_layernorm.weight", h), eps)
        if glm:
            g, u = (n @ w(b + "mlp.dense_h_to_4h.weight", 2 * inter, h).t()).chunk(2, -1)
        else:
            g = n @ w(b + "mlp.gate_proj.weight", inter, h).t()
            u = n @ w(b + "mlp.up_proj.weight", inter, h).t()
        down = b + ("mlp.dense_4h_to_h" if glm else "mlp.down_proj") + ".weight"
        x = x + (torch.nn.functional.silu(g) * u) @ w(down, h, inter).t()
    x = rms(x, w("transformer.encoder.final_layernorm.weight" if glm else "model.norm.weight", h),
            eps)
    head = w("transformer.output_layer.weight" if glm else "lm_head.weight", vocab, h)
    if c.get("woq_head_rownorm"):
        head = head / head.norm(dim=1, keepdim=True).clamp_min(1e-12)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(c, f, indent=1)
        f.write("\n")
    return (x @ head.t()).float().numpy(), sorted(lines)
