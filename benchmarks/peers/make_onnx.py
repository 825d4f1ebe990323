"""Builds the ONNX graph of the embedded checkpoint with ONNX Runtime's own fused BERT operators.

make_onnx.py models/minilm6-sst2 OUT.onnx

The operators are those that onnxruntime's BERT optimiser would leave: EmbedLayerNormalization, Attention,
SkipLayerNormalization (bias folded in), BiasGelu. One input, input_ids [1, T]: no mask and no padding. Needs onnx, numpy and
safetensors.
"""
import json
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

FUSED = "com.microsoft"


class Graph:
    def __init__(self, weights):
        self.weights = weights
        self.nodes, self.initializers = [], []

    def tensor(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def weight(self, name):
        return self.tensor(name, self.weights[name])

    def node(self, op, inputs, output, domain="", outputs=1, **attributes):
        names = [output] + [""] * (outputs - 1)
        self.nodes.append(helper.make_node(op, inputs, names[:outputs], name=output, domain=domain, **attributes))
        return output

    def dense(self, x, prefix, output):
        w = self.tensor(prefix + ".weight^T", self.weights[prefix + ".weight"].T)
        return self.node("MatMul", [x, w], output)

    def skip_norm(self, x, skip, norm, bias, eps, output):
        inputs = [x, skip, self.weight(norm + ".weight"), self.weight(norm + ".bias"), self.weight(bias)]
        return self.node("SkipLayerNormalization", inputs, output, FUSED, epsilon=eps)


def embed(g, eps):
    e = "bert.embeddings."
    tables = [g.weight(e + t + "_embeddings.weight") for t in ("word", "position", "token_type")]
    norm = [g.weight(e + "LayerNorm.weight"), g.weight(e + "LayerNorm.bias")]
    shape = g.node("Shape", ["input_ids"], "shape")
    zero = g.tensor("zero", np.zeros(1, np.int32))
    types = g.node("Expand", [zero, shape], "types")
    g.nodes.append(helper.make_node("EmbedLayerNormalization", ["input_ids", types] + tables + norm, ["x0", ""],
                                    name="embed", domain=FUSED, epsilon=eps))
    return "x0"


def layer(g, l, x, heads, eps):
    p = f"bert.encoder.layer.{l}."
    qkv = [p + "attention.self." + n for n in ("query", "key", "value")]
    w = g.tensor(p + "qkv.weight", np.concatenate([g.weights[n + ".weight"].T for n in qkv], 1))
    b = g.tensor(p + "qkv.bias", np.concatenate([g.weights[n + ".bias"] for n in qkv]))
    context = g.node("Attention", [x, w, b], p + "context", FUSED, num_heads=heads)
    out = g.dense(context, p + "attention.output.dense", p + "attended")
    y = g.skip_norm(out, x, p + "attention.output.LayerNorm", p + "attention.output.dense.bias", eps, p + "y")
    up = g.dense(y, p + "intermediate.dense", p + "up")
    wide = g.node("BiasGelu", [up, g.weight(p + "intermediate.dense.bias")], p + "wide", FUSED)
    down = g.dense(wide, p + "output.dense", p + "down")
    return g.skip_norm(down, y, p + "output.LayerNorm", p + "output.dense.bias", eps, p + "x")


def head(g, x):
    first = g.node("Gather", [x, g.tensor("first", np.array(0, np.int64))], "cls", axis=1)
    pooled = g.node("Gemm", [first, g.weight("bert.pooler.dense.weight"), g.weight("bert.pooler.dense.bias")], "pooled",
                    transB=1)
    squashed = g.node("Tanh", [pooled], "squashed")
    return g.node("Gemm", [squashed, g.weight("classifier.weight"), g.weight("classifier.bias")], "logits", transB=1)


def main(checkpoint, out):
    config = json.load(open(checkpoint + "/config.json"))
    weights = {k: v.astype(np.float32) for k, v in load_file(checkpoint + "/model.safetensors").items()}
    g = Graph(weights)
    eps = config["layer_norm_eps"]
    x = embed(g, eps)
    for l in range(config["num_hidden_layers"]):
        x = layer(g, l, x, config["num_attention_heads"], eps)
    head(g, x)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT32, [1, "T"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(config["id2label"])])
    graph = helper.make_graph(g.nodes, "bert", [ids], [logits], g.initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)],
                                ir_version=8), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
