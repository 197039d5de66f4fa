//! The guided tour: as text to follow by hand, or run by the demo itself.

use std::{fmt::Write, net::SocketAddr};

use http::Request;

use super::{
    bucket::NAME,
    client::{DemoResponse, ask},
    media::{AWKWARD, LARGE, LARGE_KEY, large, samples},
};
use crate::cache::key::{CanonicalPath, PathForm};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The addresses used in the tour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tour {
    /// The private bucket.
    pub bucket: SocketAddr,
    /// Forebay's viewer address.
    pub forebay: SocketAddr,
    /// Forebay's admin address.
    pub admin: SocketAddr,
}

/// The result of one step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Whether the result was as expected.
    pub passed: bool,
    /// The result in one line.
    pub line: String,
}

impl Tour {
    /// The tour as text to follow by hand.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let Self { bucket, forebay, admin } = self;
        let mut text = format!(
            "\nA private bucket is at http://{bucket}/{NAME} and Forebay in front of it.\n\
             Open http://{forebay}/ in a browser, or follow with curl:\n"
        );
        let image = format!("http://{forebay}/images/harbour.jpg");
        let stations = [
            (
                "The bucket answers nobody else: 403",
                format!("curl -i http://{bucket}/{NAME}/images/harbour.jpg"),
            ),
            (
                "A miss: Forebay signs a request and fetches it",
                format!("curl -sD- -o /dev/null {image}"),
            ),
            ("A hit: the same again, from memory", format!("curl -sD- -o /dev/null {image}")),
            (
                "A range of a 64 MiB object: 206",
                format!("curl -sD- -o /dev/null -r 1000000-1000999 http://{forebay}/{LARGE_KEY}"),
            ),
            (
                "A conditional request: 304",
                format!(
                    "curl -sD- -o /dev/null {image} -H \"If-None-Match: $(curl -sI {image} | tr -d '\\r' | sed -n 's/^etag: //p')\""
                ),
            ),
            (
                "A name with spaces and brackets",
                format!("curl -i 'http://{forebay}/names/photo%20(1).txt'"),
            ),
            (
                "A purge: the next request is a miss",
                format!(
                    "curl -i http://{admin}/purge -H 'Content-Type: application/json' -d '{{\"distribution\": \"default\", \"paths\": [\"/images/*\"]}}'"
                ),
            ),
            ("What Forebay counts", format!("curl -s http://{admin}/metrics")),
        ];
        for (number, (what, command)) in stations.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{}. {what}\n   {command}\n", number + 1);
        }
        text.push_str("\nPress Ctrl-C to end the demo.\n");
        text
    }

    /// Runs the tour and returns the result of each step.
    pub(crate) async fn walk(&self) -> Vec<Step> {
        vec![
            step("the bucket refuses an unsigned request", self.refused().await),
            step("a first request is a miss", self.image("Miss from forebay").await),
            step("a second request is a hit", self.image("Hit from forebay").await),
            step("a range of the large object", self.range().await),
            step("a conditional request", self.conditional().await),
            step("awkward names", self.names().await),
            step("a purge makes the next request a miss", self.purge().await),
        ]
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Result<DemoResponse, Failure> {
        let mut request = Request::get(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        ask(self.forebay, request, "").await
    }

    async fn refused(&self) -> Result<String, Failure> {
        let request = Request::get(format!("/{NAME}/images/harbour.jpg"));
        let answer = ask(self.bucket, request, "").await?;
        expect(answer.status == 403, || format!("the bucket answered {}", answer.status))?;
        Ok("403 from the bucket itself".into())
    }

    async fn image(&self, x_cache: &str) -> Result<String, Failure> {
        let answer = self.get("/images/harbour.jpg", &[]).await?;
        let is_image = samples().iter().any(|s| s.content == answer.content);
        expect(answer.status == 200 && is_image, || format!("status {}", answer.status))?;
        let shown = answer.field("x-cache");
        expect(shown == x_cache, || format!("X-Cache: {shown}"))?;
        Ok(format!("200, {} bytes, X-Cache: {shown}", answer.content.len()))
    }

    async fn range(&self) -> Result<String, Failure> {
        let part = 1_000_000..3_500_000;
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        let answer = self.get(&format!("/{LARGE_KEY}"), &[("range", &range)]).await?;
        let shown = answer.field("content-range");
        let expected = format!("bytes 1000000-3499999/{LARGE}");
        expect(answer.status == 206 && shown == expected, || format!("{} {shown}", answer.status))?;
        expect(answer.content == large(part), || "the bytes differ".into())?;
        Ok(format!("206, Content-Range: {shown}"))
    }

    async fn conditional(&self) -> Result<String, Failure> {
        let etag = self.get("/images/harbour.jpg", &[]).await?.field("etag").to_owned();
        let answer = self.get("/images/harbour.jpg", &[("if-none-match", &etag)]).await?;
        expect(answer.status == 304, || format!("status {}", answer.status))?;
        Ok(format!("304 for If-None-Match: {etag}"))
    }

    async fn names(&self) -> Result<String, Failure> {
        for key in AWKWARD {
            let decoded = format!("/{key}").replace('%', "%25");
            let mut path = String::new();
            CanonicalPath::resolve(&decoded, PathForm::Key)?.encode_for_bucket(&mut path);
            let answer = self.get(&path, &[]).await?;
            let expected = format!("This is the object `{key}`.\n");
            expect(answer.content == expected, || format!("{path}: {}", answer.status))?;
        }
        Ok(format!("{} objects, byte for byte", AWKWARD.len()))
    }

    async fn purge(&self) -> Result<String, Failure> {
        let request = Request::post("/purge").header("content-type", "application/json");
        let purge = "{\"distribution\": \"default\", \"paths\": [\"/images/*\"]}";
        let answer = ask(self.admin, request, purge).await?;
        expect(answer.status == 200, || format!("the purge answered {}", answer.status))?;
        self.image("Miss from forebay").await
    }
}

fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(otherwise().into()) }
}

fn step(what: &str, result: Result<String, Failure>) -> Step {
    match result {
        Ok(seen) => Step { passed: true, line: format!("✔ {what}: {seen}") },
        Err(error) => Step { passed: false, line: format!("✖ {what}: {error}") },
    }
}
