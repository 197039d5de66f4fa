//! CloudFront's continuous deployment: a policy sends a part of the requests for a distribution to a staging distribution.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Parts,
    documents::{Document, Documents},
    text::{Text, key, quote},
};

/// What becomes of continuous deployment policies.
#[derive(Default)]
pub(super) struct Deployment<'a> {
    /// The distributions, without those of staging.
    pub(super) primary: Vec<&'a Document>,
    /// The staging configuration, if there is one.
    pub(super) staging: Option<Staging>,
    /// The ids of policies, each with the reason why it is not carried over, or none.
    pub(super) policies: BTreeMap<String, Option<String>>,
    /// Staging distributions that are not carried over.
    pub(super) left_out: Vec<String>,
}

/// A staging configuration.
pub(super) struct Staging {
    /// The staging distribution, with what it inherits from its primary one.
    pub(super) document: Document,
    /// Its file.
    pub(super) name: String,
    /// The place of the primary one.
    pub(super) place: usize,
    /// The lines of `[staging]` without its file.
    pub(super) lines: Text,
}

impl<'a> Deployment<'a> {
    pub(super) fn of(documents: &'a Documents) -> Self {
        let is_staged =
            |document: &&Document| document.config().get("Staging") == Some(&json!(true));
        let (staged, primary): (Vec<_>, Vec<_>) =
            documents.distributions.iter().partition(is_staged);
        if primary.is_empty() {
            // Without its primary one, a staging distribution is imported like any other.
            return Self { primary: staged, ..Self::default() };
        }
        let mut deployment = Self { primary, ..Self::default() };
        for place in 0..deployment.primary.len() {
            let primary = deployment.primary[place];
            let id = primary.config().get("ContinuousDeploymentPolicyId").and_then(Value::as_str);
            let Some(id) = id.filter(|id| !id.is_empty()) else { continue };
            let refusal = match find(&documents.parts, id, &staged) {
                Ok(_) if deployment.staging.is_some() => Some(
                    "there can be one staging configuration, and another policy has it".to_owned(),
                ),
                Ok((staged, lines)) => {
                    let document = staged.in_place_of(primary);
                    let name = staged.name.clone();
                    deployment.staging = Some(Staging { document, name, place, lines });
                    None
                }
                Err(reason) => Some(reason),
            };
            deployment.policies.insert(id.to_owned(), refusal);
        }
        let is_used = |document: &&&Document| {
            deployment.staging.as_ref().is_some_and(|staging| staging.name == document.name)
        };
        let left_out = staged.iter().filter(|document| !is_used(document));
        deployment.left_out = left_out.map(|document| document.name.clone()).collect();
        deployment
    }
}

/// The staging distribution of a policy, and which requests it gets.
fn find<'a>(
    parts: &Parts,
    id: &str,
    staged: &[&'a Document],
) -> Result<(&'a Document, Text), String> {
    let policy = parts.deployment_policies.get(id).ok_or_else(|| {
        format!("its document is missing: run `aws cloudfront get-continuous-deployment-policy --id {id} > {id}.json` and import that file and the staging distribution, too")
    })?;
    if policy.get("Enabled") != Some(&json!(true)) {
        return Err("the policy is disabled".to_owned());
    }
    let names = policy.get("StagingDistributionDnsNames");
    let names = names.map(|names| names.get("Items").unwrap_or(names)).and_then(Value::as_array);
    let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    let is_named =
        |document: &&&Document| document.domain.as_deref().is_some_and(|own| names.contains(&own));
    // `get-distribution-config` does not print the domain name.
    let only = || match staged {
        [only] if only.domain.is_none() => Some(only),
        _ => None,
    };
    let found = staged.iter().find(is_named).or_else(only).ok_or_else(|| {
        format!("the document of the staging distribution {} is missing: save it as `aws cloudfront get-distribution` prints it, and import that file, too", names.join(", "))
    })?;
    let lines = selection(policy.get("TrafficConfig").unwrap_or(&Value::Null));
    Ok((found, lines.ok_or("the policy selects requests in an unknown way")?))
}

/// Which requests a policy selects.
fn selection(traffic: &Value) -> Option<Text> {
    let mut text = Text::default();
    match traffic.get("Type")?.as_str()? {
        "SingleWeight" => {
            let config = traffic.get("SingleWeightConfig")?;
            text.line("weight", config.get("Weight")?.as_f64()?);
            if let Some(sticky) = config.get("SessionStickinessConfig").filter(|it| !it.is_null()) {
                let seconds = |key| sticky.get(key).and_then(Value::as_u64);
                let (idle, maximum) = (seconds("IdleTTL")?, seconds("MaximumTTL")?);
                let times = format!("{{ idle_ttl = {idle}, maximum_ttl = {maximum} }}");
                text.line("session_stickiness", times);
            }
        }
        "SingleHeader" => {
            let config = traffic.get("SingleHeaderConfig")?;
            let [name, value] =
                ["Header", "Value"].map(|key| config.get(key).and_then(Value::as_str));
            text.line("header", format!("{{ {} = {} }}", key(name?), quote(value?)));
        }
        _ => return None,
    }
    Some(text)
}

impl Document {
    /// The configuration inside the document.
    fn config(&self) -> &Value {
        self.inside.iter().fold(&self.content, |value, key| value.get(key).unwrap_or(&Value::Null))
    }

    /// A staging distribution under the id and the aliases of its primary one.
    fn in_place_of(&self, primary: &Self) -> Self {
        let mut config = self.config().clone();
        if let Some(config) = config.as_object_mut() {
            config.remove("Staging");
            let aliases = primary.config().get("Aliases").cloned();
            config.insert("Aliases".to_owned(), aliases.unwrap_or_default());
        }
        Self {
            name: primary.name.clone(),
            id: primary.id.clone(),
            domain: primary.domain.clone(),
            content: json!({ "DistributionConfig": config }),
            inside: &["DistributionConfig"],
        }
    }
}
