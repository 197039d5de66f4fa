//! Custom error responses: a page of the site replaces an error
//! (Amazon CloudFront Developer Guide, "Generate custom error responses").

use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode, header, request::Parts};

use crate::{
    base::metrics::ResultType,
    http::{
        authority::{authority, host},
        body::Body,
    },
    proxy::{
        context::Edge,
        request::{admission::AdmittedRequest, custom_error::ErrorPage, routing::Distribution},
        response::proxy_response::{Head, ProxyResponse},
    },
};

impl Edge {
    /// Returns the custom error page for `answer`, or `answer` itself if there is none.
    ///
    /// The page is served like any object, by the behavior of its path. If it is not available, the viewer gets that
    /// error instead.
    pub(crate) async fn custom_error_response(
        self: &Arc<Self>,
        distribution: &Arc<Distribution>,
        request: &Parts,
        answer: ProxyResponse,
    ) -> ProxyResponse {
        let status = answer.head.status();
        let pages = &distribution.settings.error_pages;
        let Some(page) = pages.iter().find(|page| page.error == status) else { return answer };
        let Some(host) = authority(request).and_then(host) else { return answer };
        let Some(made) = request_for(page, request) else { return answer };
        let Some(admitted) = AdmittedRequest::of_page(distribution, &made, host) else {
            return answer;
        };
        let now = self.clock.now();
        let plan = self.plan(&admitted, now);
        let mut shown = self.answer(&admitted, plan, &mut Body::empty(), now).await;
        shown.result = ResultType::Error;
        keep_fields(&answer.head, &mut shown.head);
        if shown.head.status() == StatusCode::OK {
            shown.substituted = Some(page.response_code);
            shown.report = answer.report;
        }
        shown
    }
}

/// Copies the headers of the error that also apply to its page.
fn keep_fields(error: &Head, page: &mut Head) {
    let (Head::Own(_, own) | Head::Page(_, own)) = error else { return };
    let kept = [header::ALLOW, header::CONNECTION, header::CONTENT_RANGE, header::RETRY_AFTER];
    let kept = kept.into_iter().filter_map(|name| Some((name.clone(), own.get(name)?.clone())));
    match page {
        Head::Own(_, fields) | Head::Page(_, fields) => fields.extend(kept),
        Head::Stored(head) => head.own_fields.get_or_insert_default().extend(kept),
    }
}

/// A request for the page, without the viewer's conditions and ranges for the object.
fn request_for(page: &ErrorPage, request: &Parts) -> Option<Parts> {
    let method = if request.method == Method::HEAD { Method::HEAD } else { Method::GET };
    let made = Request::builder().method(method).uri(&page.path).version(request.version);
    let mut parts = made.body(()).ok()?.into_parts().0;
    parts.headers = [header::ACCEPT_ENCODING, header::ORIGIN]
        .into_iter()
        .filter_map(|name| Some((name.clone(), request.headers.get(name)?.clone())))
        .collect::<HeaderMap>();
    Some(parts)
}
