//! `[events]`: sources of bucket change events, besides `POST /events`.

use super::section::{Placed, Section, parse_each};
use crate::{control::Queue, outbound::Address};

/// SQS queues and SNS topics.
pub(super) fn events(root: &Section<'_>) -> (Vec<Queue>, Vec<String>) {
    let Some(section) = root.table("events") else { return (Vec::new(), Vec::new()) };
    let queues = section.tables("queue").into_iter().filter_map(|table| {
        let queue = queue(&table);
        table.unknown();
        queue
    });
    let queues = queues.collect();
    let topics = parse_each(&section, "topics", topic, |text| {
        let help =
            "use the ARN of a topic, such as \"arn:aws:sns:eu-central-1:111122223333:changes\""
                .to_owned();
        (format!("`{text}` is not the ARN of an SNS topic"), "not a topic ARN", help)
    });
    section.unknown();
    (queues, topics)
}

fn queue(table: &Section<'_>) -> Option<Queue> {
    let example = "use the URL of a queue, such as \"https://sqs.eu-central-1.amazonaws.com/111122223333/changes\"";
    let url = table.required("url", example);
    let region = table.string("region");
    let Placed { value: url, span } = url?;
    // The account and queue name follow the host.
    let end = url.match_indices('/').nth(2).map_or(url.len(), |(end, _)| end);
    let address = Address::from_url(&url[..end]).ok().filter(|_| url.len() > end + 1);
    let Some(address) = address else {
        let message = format!("`{url}` is not the URL of an SQS queue");
        table.fault(span, message, "not a queue URL", example.to_owned());
        return None;
    };
    let is_at_aws = address.host.contains(".amazonaws.com");
    let named = address.host.strip_prefix("sqs.").filter(|_| is_at_aws);
    let named = named.and_then(|rest| rest.split('.').next());
    let Some(region) = region.map(|region| region.value).or(named) else {
        let message = "the queue's region is unknown";
        table.fault(
            span,
            message,
            "not an AWS host name",
            "add the region, such as `region = \"eu-central-1\"`".to_owned(),
        );
        return None;
    };
    Some(Queue { url: url.to_owned(), region: region.to_owned(), address })
}

fn topic(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_topic = matches!(parts[..], ["arn", partition, "sns", region, _, name]
        if partition.starts_with("aws") && !region.is_empty() && !name.is_empty());
    is_topic.then(|| text.to_owned())
}
