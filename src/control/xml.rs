//! CloudFront's XML documents: the invalidation batch in requests, and the responses
//! (Amazon CloudFront API Reference 2020-05-31).

use http::StatusCode;
use quick_xml::{Reader, escape::escape, events::Event};
use time::{OffsetDateTime, macros::format_description};

use super::{api::PageRequest, invalidation::Invalidation};
use crate::aws::resolve;

/// The XML namespace of all documents.
pub(super) const NAMESPACE: &str = "http://cloudfront.amazonaws.com/doc/2020-05-31/";

/// Maximum nesting of elements. No legitimate document exceeds it.
const DEEPEST: usize = 8;

/// An `InvalidationBatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) items: Vec<String>,
    pub(super) quantity: Option<usize>,
    pub(super) caller_reference: Option<String>,
}

impl Batch {
    /// Parses a batch; `None` if it is invalid. Rejects documents that declare types or entities.
    pub(super) fn parse(xml: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_reader(xml);
        let (mut batch, mut open, mut text) = (Self::default(), Vec::new(), String::new());
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    open.push(start.local_name().as_ref().to_owned());
                    text.clear();
                    if open.len() > DEEPEST {
                        return None;
                    }
                }
                Event::Text(part) => text.push_str(&part),
                Event::CData(part) => text.push_str(&part),
                Event::GeneralRef(reference) => text.push(resolve(&reference)?),
                Event::End(_) => {
                    batch.take(&open, std::mem::take(&mut text))?;
                    open.pop();
                }
                Event::Empty(_) | Event::Decl(_) | Event::Comment(_) => {}
                Event::DocType(_) | Event::PI(_) => return None,
                Event::Eof => break,
            }
        }
        open.is_empty().then_some(batch)
    }

    /// Stores the text of the innermost open element; `None` if the element is unexpected or its text is invalid.
    fn take(&mut self, open: &[String], text: String) -> Option<()> {
        let path: Vec<&str> = open.iter().map(String::as_str).collect();
        match path[..] {
            ["InvalidationBatch", "CallerReference"] => self.caller_reference = Some(text),
            ["InvalidationBatch", "Paths", "Quantity"] => {
                self.quantity = Some(text.trim().parse().ok()?);
            }
            ["InvalidationBatch", "Paths", "Items", "Path"] => self.items.push(text),
            ["InvalidationBatch", ..] => {}
            _ => return None,
        }
        Some(())
    }
}

/// An `Invalidation`.
pub(super) fn invalidation(invalidation: &Invalidation) -> String {
    let Invalidation { id, items, caller_reference, .. } = invalidation;
    document(&format!(
        "<Invalidation xmlns=\"{NAMESPACE}\"><Id>{id}</Id><Status>{}</Status><CreateTime>{}</CreateTime>\
         <InvalidationBatch>{}</InvalidationBatch></Invalidation>",
        invalidation.status(),
        moment(invalidation.created),
        batch_content(items, caller_reference),
    ))
}

/// An `InvalidationBatch`, as clients send it.
pub(super) fn batch(items: &[String], caller_reference: &str) -> String {
    let content = batch_content(items, caller_reference);
    format!("<InvalidationBatch xmlns=\"{NAMESPACE}\">{content}</InvalidationBatch>")
}

fn batch_content(items: &[String], caller_reference: &str) -> String {
    let path = |item: &String| format!("<Path>{}</Path>", escape(item));
    format!(
        "<Paths>{}</Paths><CallerReference>{}</CallerReference>",
        quantity_and_items(items.iter().map(path)),
        escape(caller_reference)
    )
}

/// A list with its quantity. CloudFront leaves out `Items` if the list is empty.
pub(super) fn quantity_and_items(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let quantity = format!("<Quantity>{}</Quantity>", items.len());
    if items.is_empty() { quantity } else { format!("{quantity}<Items>{}</Items>", items.concat()) }
}

/// One page of a list. `next` is the marker of the next page.
pub(super) fn page(
    root: &str,
    page: &PageRequest,
    next: Option<&str>,
    items: impl Iterator<Item = String>,
) -> String {
    let marker =
        next.map_or_else(String::new, |next| format!("<NextMarker>{}</NextMarker>", escape(next)));
    document(&format!(
        "<{root} xmlns=\"{NAMESPACE}\"><Marker>{}</Marker>{marker}<MaxItems>{}</MaxItems>\
         <IsTruncated>{}</IsTruncated>{}</{root}>",
        escape(&*page.marker),
        page.most,
        next.is_some(),
        quantity_and_items(items),
    ))
}

/// An `InvalidationList`.
pub(super) fn list(
    wanted: &PageRequest,
    invalidations: &[impl AsRef<Invalidation>],
    more: bool,
) -> String {
    let summary = |invalidation: &Invalidation| {
        format!(
            "<InvalidationSummary><Id>{}</Id><CreateTime>{}</CreateTime><Status>{}</Status></InvalidationSummary>",
            invalidation.id,
            moment(invalidation.created),
            invalidation.status()
        )
    };
    let next = invalidations.last().filter(|_| more).map(|last| &*last.as_ref().id);
    let items = invalidations.iter().map(|known| summary(known.as_ref()));
    page("InvalidationList", wanted, next, items)
}

/// An error in the format that AWS clients parse. `Receiver` means that a retry may succeed.
pub(super) fn error(status: StatusCode, code: &str, message: &str, request_id: &str) -> String {
    let at_fault = if status.is_server_error() { "Receiver" } else { "Sender" };
    document(&format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{at_fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(code),
        escape(message),
    ))
}

pub(super) fn document(content: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{content}")
}

/// A time in ISO 8601, from milliseconds since the epoch.
pub(super) fn moment(milliseconds: u64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(format).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "<InvalidationBatch xmlns=\"http://cloudfront.amazonaws.com/doc/2020-05-31/\">";

    #[test]
    fn an_error_says_whose_fault_it_is() {
        let of = |status| error(status, "Code", "a < b", "id");
        assert!(of(StatusCode::FORBIDDEN).contains("<Type>Sender</Type><Code>Code</Code>"));
        let full = of(StatusCode::SERVICE_UNAVAILABLE);
        assert!(full.contains("<Type>Receiver</Type>") && full.contains("a &lt; b"), "{full}");
    }

    #[test]
    fn batches_are_read_in_either_order() {
        let paths = "<Paths><Quantity>2</Quantity><Items><Path>/a &amp; b/ü.jpg</Path><Path>/*</Path></Items></Paths>";
        let reference = "<CallerReference>cli-1&#45;2</CallerReference>";
        let expected = Batch {
            items: vec!["/a & b/ü.jpg".into(), "/*".into()],
            quantity: Some(2),
            caller_reference: Some("cli-1-2".into()),
        };
        for content in [format!("{paths}{reference}"), format!("{reference}{paths}")] {
            let xml = format!("{HEAD}{content}</InvalidationBatch>");
            assert_eq!(Batch::parse(xml.as_bytes()), Some(expected.clone()), "{xml}");
            let declared = format!("<?xml version=\"1.0\"?>\n{xml}\n");
            assert_eq!(Batch::parse(declared.as_bytes()), Some(expected.clone()));
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let entity = "<!DOCTYPE a [<!ENTITY b \"bbbb\">]><InvalidationBatch><CallerReference>&b;</CallerReference></InvalidationBatch>";
        let deep = "<InvalidationBatch>".repeat(20);
        for xml in [
            "<Other/><Other></Other>",
            "<InvalidationBatch><Paths>",
            "<InvalidationBatch><Paths></InvalidationBatch>",
            "<InvalidationBatch><CallerReference>&unknown;</CallerReference></InvalidationBatch>",
            "<InvalidationBatch><Paths><Quantity>two</Quantity></Paths></InvalidationBatch>",
            entity,
            &deep,
        ] {
            assert_eq!(Batch::parse(xml.as_bytes()), None, "{xml}");
        }
    }

    #[test]
    fn moments_have_milliseconds() {
        assert_eq!(moment(1_800_000_000_007), "2027-01-15T08:00:00.007Z");
    }
}
