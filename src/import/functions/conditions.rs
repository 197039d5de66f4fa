//! Conditions of a function.

/// A condition of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Known(bool),
    Atom(Atom),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

/// A test of one property of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) subject: Subject,
    pub(super) test: Test,
}

/// A property of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Path,
    Host,
    /// A header field, by its name in lower case.
    Header(String),
}

/// A test of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Present,
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    /// A regular expression is found in it.
    Matches(String),
}

impl Condition {
    pub(super) const fn is(subject: Subject, test: Test) -> Self {
        Self::Atom(Atom { subject, test })
    }

    /// The number of its tests.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Known(_) | Self::Atom(_) => 1,
            Self::Not(inner) => inner.size(),
            Self::And(first, second) | Self::Or(first, second) => first.size() + second.size(),
        }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }
}

/// The most ways in which a condition can hold or not.
const MAX_WAYS: usize = 64;

/// Whether atoms hold on a path, in the order in which the function tests them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts(pub(super) Vec<(Atom, bool)>);

impl Facts {
    /// Whether the atom is known to hold or not.
    pub(super) fn known(&self, atom: &Atom) -> Option<bool> {
        let of_subject = self.0.iter().filter(|(own, _)| own.subject == atom.subject);
        of_subject.clone().find(|(own, _)| own == atom).map(|(_, holds)| *holds).or_else(|| {
            let has = |test: fn(&Test) -> bool, value: bool| {
                of_subject.clone().any(|(own, holds)| test(&own.test) && *holds == value)
            };
            // A missing field has no value.
            let is_missing = has(|test| *test == Test::Present, false);
            let has_value = has(|test| *test != Test::Present, true);
            let value = of_subject.clone().find_map(|(own, holds)| match &own.test {
                Test::Equals(value) if *holds => Some(value),
                _ => None,
            });
            match (&atom.test, value) {
                (Test::Present, _) if has_value => Some(true),
                _ if is_missing => Some(false),
                (Test::Equals(other), Some(value)) => Some(value == other),
                (Test::StartsWith(start), Some(value)) => Some(value.starts_with(start)),
                (Test::EndsWith(end), Some(value)) => Some(value.ends_with(end)),
                (Test::Contains(part), Some(value)) => Some(value.contains(part)),
                _ => None,
            }
        })
    }

    /// The same facts and those that hold whenever the condition does, or does not.
    pub(super) fn assuming(&self, condition: &Condition, holds: bool) -> Self {
        match (condition, holds) {
            (Condition::Known(_), _) => self.clone(),
            (Condition::Atom(atom), _) => {
                let mut facts = self.clone();
                facts.0.push((atom.clone(), holds));
                facts
            }
            (Condition::Not(inner), _) => self.assuming(inner, !holds),
            (Condition::And(first, second), true) | (Condition::Or(first, second), false) => {
                self.assuming(first, holds).assuming(second, holds)
            }
            _ => self.clone(),
        }
    }

    /// The facts after a condition is tested: for each way in which it can hold or not, the truth of the condition. `None` if
    /// there are too many ways.
    pub(super) fn split(self, condition: &Condition) -> Option<Vec<(bool, Self)>> {
        match condition {
            Condition::Known(value) => Some(vec![(*value, self)]),
            Condition::Atom(atom) => Some(match self.known(atom) {
                Some(value) => vec![(value, self)],
                None => [true, false]
                    .map(|value| {
                        let mut facts = self.clone();
                        facts.0.push((atom.clone(), value));
                        (value, facts)
                    })
                    .into(),
            }),
            Condition::Not(inner) => {
                let split = self.split(inner)?.into_iter();
                Some(split.map(|(value, facts)| (!value, facts)).collect())
            }
            Condition::And(first, second) => self.split_pair(first, second, true),
            Condition::Or(first, second) => self.split_pair(first, second, false),
        }
    }

    /// Tests the second condition only if the first one is `needed`.
    fn split_pair(
        self,
        first: &Condition,
        second: &Condition,
        needed: bool,
    ) -> Option<Vec<(bool, Self)>> {
        let mut ways = Vec::new();
        for (value, facts) in self.split(first)? {
            if value == needed {
                ways.extend(facts.split(second)?);
            } else {
                ways.push((value, facts));
            }
            if ways.len() > MAX_WAYS {
                return None;
            }
        }
        Some(ways)
    }
}
