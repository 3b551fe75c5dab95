"""Step: NUL taken out, and every bare CR or LF made a CRLF, for destinations that can't carry them.

This also takes the sting out of what would end the content early further on: `<LF>.<LF>`, `<CR>.<CR>` and their like
become whole lines, which the connector escapes like any other. In the header no line end is made of a CR alone: it
would end a field, or the header, that went on for whoever read it here. Source: RFC 5321 §2.3.8, §4.5.2.
"""

from __future__ import annotations

from gateway.adapt.head_step import close_head
from gateway.blobs import Filtered, Slice, Spliced, clean
from gateway.contract import Capabilities
from gateway.fidelity import Fate, Note
from gateway.message import Content, Traits


def mend_octets(content: Content, capabilities: Capabilities) -> tuple[Content, list[Note]]:
    """Return the content with what `capabilities` can't carry mended, and notes of it. Blocks on a Blob."""
    traits = content.traits
    newlines = not (traits.crlf_only or capabilities.bare_newlines)
    nul = traits.nul and not capabilities.nul
    notes: list[Note] = []
    if not (nul or newlines):
        return content, notes  # the parts that needed it have been encoded
    if nul:
        notes.append(Note(Fate.DROPPED, "NUL octets", "the destination can't carry them"))
    if newlines:
        notes.append(Note(Fate.MAPPED, "bare CR or LF", "the destination takes lines that end in CRLF alone"))
    head, more = close_head(content.head, newlines=newlines, nul=nul)
    if more:
        content = content.with_head(head)
        notes += more
    transform = clean(newlines=newlines, nul=nul)
    mended = Traits(crlf_only=traits.crlf_only or newlines, eight_bit=traits.eight_bit, nul=traits.nul and not nul)
    source = content.source
    if isinstance(source, bytes):
        octets, _ = transform(content.octets(), 0, True)
        return Content(octets, traits=mended, attributes=content.attributes), notes
    whole = Spliced([content.front, Slice(source, content.offset, source.size)])
    return Content(Filtered(whole, 0, whole.size, transform), traits=mended, attributes=content.attributes), notes
