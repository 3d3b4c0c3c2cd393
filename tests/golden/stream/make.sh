#!/bin/sh
# make.sh -- the golden stream of format version 1.0: every frame kind, plain and compressed, made by
# woq 0.1.0. It is never made again for this version: v1.wts must stay readable for ever, and v1.txt is
# what woq-cat printed for it.
set -eu
cd "$(dirname "$0")"
printf '{"model_type":"llama","num_hidden_layers":1}\n' >config.json
woq-gen --model golden '@MODL;config.json:u8:@config.json' \
    'e.weight{"role":"embed"}:bf16[4,8]:rand=1' BLKB:0 \
    'stat:of=a.weight;absmax:f32:1,2,3,4,5,6,7,8' \
    'hess:of=a.weight;diag:f32:1,2,3,4,5,6,7,8;n_tokens:u64:99' \
    'a.weight{"role":"attn.q","block":0,"group":"qkv"}:f16[4,8]:rand=2' \
    '@QTEN{"name":"b.weight","role":"mlp.up","block":0,"quant":{"bits":4,"group_size":8,"sym":false,"group_dim":1}};codes:u8[4,8]:rand=3,15;scale:f32[4,1]:0.5,0.25,1,2;zero:f32[4,1]:8,7,6,9' \
    'c.weight:f32[40,40]:ramp' '@note{"loss":0.5,"of":"b.weight"}' BLKE:0 \
    n.weight:f64:1,nan,inf 'i:i64:-1,9007199254740993' x:raw:unknown >plain.wts
woq-zip plain.wts >v1.wts
woq-cat v1.wts >v1.txt
rm plain.wts config.json
