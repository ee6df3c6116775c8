"""Turn nuclei into embeddings with an encoder, and these into profiles of wells and genes."""

from i2r.stages.embed.encode import EncodeEmbed, digest_file, load_encoder, open_encoder
from i2r.stages.embed.exported import ExportedEmbed
from i2r.stages.embed.imported import ImportEmbed
from i2r.stages.embed.installed import InstalledEmbed
from i2r.stages.embed.options import Embed

Embed.methods = {"encode": EncodeEmbed, "exported": ExportedEmbed, "import": ImportEmbed}
Embed.installed = InstalledEmbed

__all__ = [
    "Embed", "EncodeEmbed", "ExportedEmbed", "ImportEmbed", "InstalledEmbed", "digest_file",
    "load_encoder", "open_encoder",
]  # fmt: skip
