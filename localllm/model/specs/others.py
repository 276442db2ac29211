"""PLaMo 3, Muse Glimmer, Spark 2.5 and Talkie (model cards; llama.cpp's plamo3, muse-glimmer, spark2-5, talkie).

Muse Glimmer norms the embedding, gates the attention's result, and has RoPE only in layers with sliding windows. Spark
has a gate a head. Talkie has no norm weights but the queries' factor a head, norms after RoPE, and adds the embedding
in every layer.
"""

from localllm.model.spec import Spec, sliding, sliding_in_all

SPECS = {
    "plamo3": Spec("PLaMo 3", rope="halves", window=sliding(8), local_base="own or 10000", local_scaling="magnitude"),
    "muse-glimmer": Spec(
        "Muse Glimmer",
        rope="adjacent",
        window=sliding(4),
        local_scaling="magnitude",
        rope_layers=lambda c, i: c.swa_layers[i],
        embedding_norm=True,
        post_norm_eps=1e-8,
        logit_factor=lambda c: c.keys.real("logit_scale"),
        final_softcap=lambda c: c.keys.number("final_logit_softcapping", 30.0),
    ),
    "spark2_5": Spec("Spark 2.5", rope="halves", activation="gelu", window=sliding_in_all),
    "talkie": Spec(
        "Talkie",
        rope="halves",
        norm_weights=False,
        embedding_norm=True,
        embedding_skip=True,
        qk_norm_after_rope=True,
        qk_norm_always=lambda c, i: True,
        logit_factor=lambda c: c.keys.real("logit_scale"),
    ),
}
