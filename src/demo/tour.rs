//! The guided tour: as text to follow by hand, or run by the demo itself.

use std::{fmt::Write, net::SocketAddr};

use http::Request;

use super::{
    bucket::NAME,
    client::{DemoResponse, send},
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

/// One step of the tour by hand.
struct Stop {
    title: &'static str,
    command: String,
    /// A text in the command's output.
    shows: &'static str,
}

/// This program, as the user can start it in any directory.
fn program() -> String {
    let Ok(program) = std::env::current_exe() else { return NAME_OF_PROGRAM.into() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path)
        .find_map(|directory| directory.join(NAME_OF_PROGRAM).canonicalize().ok());
    if first.is_some_and(|first| program.canonicalize().is_ok_and(|own| own == first)) {
        return NAME_OF_PROGRAM.into();
    }
    program.display().to_string()
}

const NAME_OF_PROGRAM: &str = "forebay";

/// The result of one step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Whether the result was as expected.
    pub passed: bool,
    /// The result in one line.
    pub line: String,
}

impl Tour {
    /// The tour as text to follow by hand. Each step works on its own, in any order.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let Self { bucket, forebay, admin } = self;
        let mut text = format!(
            "\nA private bucket is at http://{bucket}/{NAME}, and Forebay in front of it at http://{forebay}/.\n\
             Open that in a browser, or the dashboard at http://{admin}/. These commands work in another terminal, in any\n\
             order:\n"
        );
        for (number, Stop { title, command, shows }) in self.stops().iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{}. {title}\n   {command}\n   look for: {shows}\n", number + 1);
        }
        text.push_str("\nPress Ctrl-C to end the demo.\n");
        text
    }

    fn stops(&self) -> [Stop; 9] {
        let Self { bucket, forebay, admin } = self;
        let program = program();
        let image = format!("http://{forebay}/images/harbour.jpg");
        let purge = format!("{program} purge --admin {admin} /images/harbour.jpg");
        let stop = |title, command, shows| Stop { title, command, shows };
        [
            stop(
                "The bucket refuses requests without a signature",
                format!("curl -si http://{bucket}/{NAME}/images/harbour.jpg"),
                "403 Forbidden",
            ),
            stop(
                "After a purge, a request is a miss: Forebay fetches the object with a signed request",
                format!("{purge} && curl -sD- -o /dev/null {image}"),
                "x-cache: Miss from forebay",
            ),
            stop(
                "A second request is a hit, from memory",
                format!("curl -so /dev/null {image} && curl -sD- -o /dev/null {image}"),
                "x-cache: Hit from forebay",
            ),
            stop(
                "A range of a 64 MiB object fetches only the slices it needs",
                format!("curl -sD- -o /dev/null -r 1000000-1000999 http://{forebay}/{LARGE_KEY}"),
                "206 Partial Content",
            ),
            stop(
                "A conditional request gets no content if the object is unchanged",
                format!(
                    "curl -sD- -o /dev/null {image} -H \"If-None-Match: $(curl -sI {image} | tr -d '\\r' | sed -n 's/^etag: //p')\""
                ),
                "304 Not Modified",
            ),
            stop(
                "Names with spaces and parentheses work",
                format!("curl -si 'http://{forebay}/names/photo%20(1).txt'"),
                "200 OK",
            ),
            stop(
                "Why is it a hit or a miss?",
                format!("{program} explain --admin {admin} {image}"),
                "next",
            ),
            stop(
                "How fast is a hit?",
                format!("{program} load {image} --warm --duration 3s"),
                "requests",
            ),
            stop(
                "Which metrics does Forebay export?",
                format!("curl -s http://{admin}/metrics"),
                "forebay_requests_total",
            ),
        ]
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
        send(self.forebay, request, "").await
    }

    async fn refused(&self) -> Result<String, Failure> {
        let request = Request::get(format!("/{NAME}/images/harbour.jpg"));
        let answer = send(self.bucket, request, "").await?;
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
        let answer = send(self.admin, request, purge).await?;
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
