"""The names of the networks that a checkpoint may use. `src.models.networks` registers our own with timm."""

CLASSIFIERS: frozenset[str] = frozenset(
    {
        "convnext_tiny",
        "tf_efficientnetv2_b0",
        "vigil_attention_cnn96",
        "vigil_cnn28",
        "vigil_efficientnetv2_m_cbam",
        "vigil_linear28",
    }
)
"""The networks that classify an image. A checkpoint's config must name one of these, even if timm knows others."""

SEGMENTERS: frozenset[str] = frozenset({"vigil_lesion_unet"})
"""The networks that give a logit per pixel. A lesion finder's config must name one of these."""
