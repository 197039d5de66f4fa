//! What remains to do after `forebay init`.

use std::path::Path;

use super::shown;
use crate::setup::Site;

/// A site that has been written, and what is known about it.
pub(super) struct NextSteps<'a> {
    pub(super) dir: &'a Path,
    pub(super) site: &'a Site,
    /// Whether the checks found no problem; `None` if the bucket was not checked.
    pub(super) works: Option<bool>,
    /// Whether the checks found credentials.
    pub(super) has_credentials: bool,
    pub(super) systemd: bool,
    pub(super) compose: bool,
}

impl NextSteps<'_> {
    /// The steps, numbered.
    pub(super) fn text(&self) -> String {
        let mut steps = Vec::new();
        if !self.has_credentials {
            steps.push(self.credentials());
        }
        if self.works != Some(true) {
            steps.push(self.check());
        }
        if self.systemd {
            steps.extend(self.systemd());
        }
        if self.compose {
            steps.extend(self.compose());
        }
        if !self.systemd && !self.compose {
            let file = self.file("forebay.toml");
            steps.push(format!("Serve:\n     forebay serve --config {file}"));
        }
        steps.push(self.first_request());
        steps.extend(self.load_balancer());
        let settings = self.file("forebay_django.py");
        steps.push(format!("If you use Django, copy {settings} into its settings."));
        let numbered =
            steps.iter().enumerate().map(|(place, step)| format!("  {}. {step}", place + 1));
        format!("Next:\n{}", numbered.collect::<Vec<_>>().join("\n"))
    }

    fn file(&self, name: &str) -> String {
        shown(&self.dir.join(name))
    }

    fn credentials(&self) -> String {
        let policy = self.file("forebay-iam-policy.json");
        if self.site.endpoint.is_none() {
            format!(
                "Allow an AWS user or role to read the bucket, and give Forebay its credentials (environment, ~/.aws, or the machine's role):\n     \
                 aws iam put-user-policy --user-name USER --policy-name forebay --policy-document file://{policy}"
            )
        } else {
            format!(
                "Give Forebay credentials for the store (environment or ~/.aws) with the permissions that {policy} lists."
            )
        }
    }

    fn check(&self) -> String {
        let file = self.file("forebay.toml");
        if self.works == Some(false) {
            let policy = self.file("forebay-iam-policy.json");
            format!(
                "Fix what was found above. If a value in {file} is wrong, edit it. {policy} lists the permissions that Forebay needs. Then check again:\n     forebay doctor --config {file}"
            )
        } else {
            format!("Check the setup:\n     forebay doctor --config {file}")
        }
    }

    fn systemd(&self) -> Vec<String> {
        let program = std::env::current_exe().unwrap_or_else(|_| "forebay".into());
        let user = format!(
            "Create the user that the service runs as:\n     \
             sudo install -D -m 644 {} /etc/sysusers.d/forebay.conf\n     sudo systemd-sysusers forebay.conf",
            self.file("forebay.sysusers")
        );
        let access = self
            .site
            .certificate
            .as_ref()
            .map(|(certificate, key)| self.tls_access(certificate, key));
        let credentials = "If the machine has no role, write AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=… into a file that only root can read:\n     \
             sudo mkdir -p /etc/forebay && sudo sh -c 'umask 077; touch /etc/forebay/environment'\n     \
             sudoedit /etc/forebay/environment";
        let serve = format!(
            "Install and start the service:\n     \
             sudo install {} /usr/local/bin/forebay\n     sudo install -D -m 644 {} /etc/forebay/forebay.toml\n     \
             sudo install -m 644 {} /etc/systemd/system/\n     sudo systemctl enable --now forebay",
            program.display(),
            self.file("forebay.toml"),
            self.file("forebay.service")
        );
        [user].into_iter().chain(access).chain([credentials.to_owned(), serve]).collect()
    }

    /// How the service gets to read certificate and key.
    fn tls_access(&self, certificate: &str, key: &str) -> String {
        let is_hidden =
            |file: &str| ["/home/", "/root/", "/tmp/"].iter().any(|d| file.starts_with(d));
        if is_hidden(certificate) || is_hidden(key) {
            let file = self.file("forebay.toml");
            return format!(
                "The service sees neither /home nor /tmp. Copy certificate and key, and set `tls` in {file} to the copies:\n     \
                 sudo install -d -m 750 -g forebay /etc/forebay/tls\n     \
                 sudo install -m 640 -g forebay {certificate} {key} /etc/forebay/tls/"
            );
        }
        if [certificate, key].into_iter().any(|file| std::fs::File::open(file).is_err()) {
            return "Let the service read certificate and key. This user cannot read them: run `sudo forebay init` with --force and the same flags to get the commands.".into();
        }
        let mut commands = Vec::new();
        let closed = self.site.closed_directories();
        if !closed.is_empty() {
            let closed = closed.join(" ");
            commands.push(format!("sudo chgrp forebay {closed} && sudo chmod g+rx {closed}"));
        }
        commands.push(format!("sudo chgrp forebay {key} && sudo chmod g+r {key}"));
        format!("Let the service read the key:\n     {}", commands.join("\n     "))
    }

    fn compose(&self) -> Vec<String> {
        let build =
            "Build the image in Forebay's source directory:\n     docker build -t forebay .";
        let key = self.site.certificate.as_ref().map(|(_, key)| {
            format!(
                "Let the container's user read the key:\n     sudo chgrp 65532 {key} && sudo chmod g+r {key}"
            )
        });
        let file = self.file("compose.yaml");
        let serve = format!("Serve:\n     docker compose -f {file} up -d");
        [build.to_owned()].into_iter().chain(key).chain([serve]).collect()
    }

    /// A request from this machine, as viewers will send it.
    fn first_request(&self) -> String {
        let Site { domain, certificate, listen, listen_tls, .. } = self.site;
        let (scheme, listen) =
            if certificate.is_some() { ("https", listen_tls) } else { ("http", listen) };
        let (address, port) = listen.rsplit_once(':').unwrap_or((listen, "8080"));
        let address = if matches!(address, "[::]" | "0.0.0.0") { "localhost" } else { address };
        let request = match domain.as_deref().filter(|domain| !domain.contains('*')) {
            // No certificate covers an address.
            None if certificate.is_some() => {
                format!("curl -sS -o /dev/null -D - --insecure {scheme}://{address}:{port}/KEY")
            }
            None => format!("curl -sS -o /dev/null -D - {scheme}://{address}:{port}/KEY"),
            Some(domain) => {
                format!(
                    "curl -sS -o /dev/null -D - {scheme}://{domain}:{port}/KEY --connect-to {domain}:{port}:{address}:{port}"
                )
            }
        };
        format!("Request an object in the bucket by its key:\n     {request}")
    }

    fn load_balancer(&self) -> Option<String> {
        let Site { domain: Some(domain), certificate: None, listen, .. } = self.site else {
            return None;
        };
        let port = listen.rsplit(':').next().unwrap_or("8080");
        Some(format!(
            "Route https://{domain} to port {port} of this machine through a load balancer that terminates TLS and passes the Host header on. Without one, run `forebay init` again with --certificate, --key and --force."
        ))
    }
}
