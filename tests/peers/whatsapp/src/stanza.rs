//! Small readers over decoded stanzas.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeContent};

/// An attribute as text; addresses are written out.
pub(crate) fn attr(node: &Node, name: &str) -> Option<String> {
    node.attrs.get(name).map(|value| value.as_str().into_owned())
}

/// An attribute as address.
pub(crate) fn jid(node: &Node, name: &str) -> Option<Jid> {
    node.attrs.get(name).and_then(wacore_binary::NodeValue::to_jid)
}

/// The bytes in a node; text counts as its UTF-8 bytes.
pub(crate) fn bytes(node: &Node) -> Option<&[u8]> {
    match node.content.as_ref()? {
        NodeContent::Bytes(bytes) => Some(bytes),
        NodeContent::String(text) => Some(text.as_bytes()),
        NodeContent::Nodes(_) => None,
    }
}

/// The bytes of the child `tag`.
pub(crate) fn child_bytes<'a>(node: &'a Node, tag: &str) -> Option<&'a [u8]> {
    bytes(node.get_optional_child(tag)?)
}

/// A big-endian unsigned number of up to four bytes.
pub(crate) fn uint(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |value, byte| (value << 8) | u32::from(*byte))
}

/// All children, or none.
pub(crate) fn children(node: &Node) -> &[Node] {
    node.children().unwrap_or_default()
}

/// The first child.
pub(crate) fn first_child(node: &Node) -> Option<&Node> {
    children(node).first()
}

/// `<iq type="result">` for the iq `id`.
pub(crate) fn iq_result(id: &str, content: impl IntoIterator<Item = Node>) -> Node {
    let builder = NodeBuilder::new("iq").attr("from", server_jid()).attr("type", "result").attr("id", id);
    let content: Vec<Node> = content.into_iter().collect();
    if content.is_empty() { builder.build() } else { builder.children(content).build() }
}

/// `<iq type="error">` with code and text.
pub(crate) fn iq_error(id: &str, code: u16, text: &str) -> Node {
    NodeBuilder::new("iq")
        .attr("from", server_jid())
        .attr("type", "error")
        .attr("id", id)
        .children([NodeBuilder::new("error").attr("code", code).attr("text", text).build()])
        .build()
}

/// The server as an address.
pub(crate) fn server_jid() -> Jid {
    Jid::new("", wacore_binary::Server::Pn)
}
