//! Responses that change the protocol of a connection to an origin.

use std::sync::Arc;

use http::{Response, StatusCode, header};
use hyper::body::Incoming;

use super::{
    Origin, OriginRequest, OriginResponse, Tunnel,
    answer::{Times, plain_fields},
    tunnel::TunnelPlace,
};
use crate::{
    http::{body::Body, upgrade},
    outbound::Error,
};

impl Origin {
    /// A place for the tunnel that a request may lead to. Tunnels have a limit of their own, because they are long-lived
    /// and could otherwise use up the connections for other requests.
    ///
    /// # Errors
    /// If there are too many tunnels.
    pub(super) fn place_of_tunnel(
        &self,
        request: &OriginRequest<'_>,
    ) -> Result<Option<TunnelPlace>, Error> {
        let is_upgrade = request.fields.contains_key(header::UPGRADE);
        let Some(client) = request.client.filter(|_| is_upgrade) else { return Ok(None) };
        let share = self.tunnels_of_clients.take(client).ok_or(Error::TooManyTunnels)?;
        let permit = Arc::clone(&self.tunnels).try_acquire_owned();
        Ok(Some((permit.map_err(|_| Error::TooManyTunnels)?, share)))
    }

    /// Takes the connection out of a 101 response.
    ///
    /// # Errors
    /// If the request did not name the new protocol.
    pub(super) async fn switched(
        &self,
        request: &OriginRequest<'_>,
        mut response: Response<Incoming>,
        place: Option<TunnelPlace>,
        times: Times,
    ) -> Result<OriginResponse, Error> {
        let requested = request.fields.get(header::UPGRADE);
        let accepted = requested.and_then(|it| upgrade::accepted(it, response.headers()));
        let (Some(protocol), Some(place)) = (accepted, place) else {
            return Err(Error::WrongProtocol);
        };
        let stream = hyper::upgrade::on(&mut response).await?;
        let (idle_timeout, open) = (self.options.tunnel_idle_timeout, self.metrics.tunnels.clone());
        let tunnel = Tunnel::new(stream, protocol, idle_timeout, open, place);
        let (parts, _) = response.into_parts();
        let facts = self.facts(&parts);
        let shown = |fields| plain_fields(StatusCode::SWITCHING_PROTOCOLS, fields);
        let answer = OriginResponse::new(parts, shown, Body::empty(), times, facts);
        Ok(OriginResponse { tunnel: Some(Box::new(tunnel)), ..answer })
    }
}
