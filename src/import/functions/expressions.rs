//! Evaluates expressions of a function.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use oxc_ast::ast::{
    Argument, BinaryExpression, BinaryOperator, CallExpression, ChainElement, Expression,
    LogicalExpression, LogicalOperator, ObjectExpression, ObjectPropertyKind, PropertyKey,
    TemplateLiteral, UnaryOperator,
};
use oxc_span::GetSpan;

use super::{
    Unclear,
    conditions::{Atom, Condition, Facts, Subject, Test},
    value::{HOST, Piece, Value, checked_join, joined},
};

/// The most characters of code in a message.
const LONGEST_SNIPPET: usize = 60;

/// The most tests in a condition.
const MAX_TESTS: usize = 1000;

/// What is known while an expression is evaluated.
pub(super) struct Scope<'a> {
    pub(super) source: &'a str,
    pub(super) names: &'a HashMap<String, Value>,
    /// The path of the request, as the function has changed it.
    pub(super) uri: &'a [Piece],
    /// What holds where the expression is evaluated.
    pub(super) facts: Facts,
}

impl Scope<'_> {
    pub(super) fn value(&self, expression: &Expression<'_>) -> Result<Value, Unclear> {
        let value = match expression {
            Expression::StringLiteral(literal) => Some(Value::literal(&literal.value)),
            Expression::NumericLiteral(literal) => Some(Value::Number(literal.value)),
            Expression::BooleanLiteral(literal) => {
                Some(Value::Condition(Condition::Known(literal.value)))
            }
            Expression::NullLiteral(_) => Some(Value::Null),
            Expression::RegExpLiteral(literal) => {
                let text = literal.regex.pattern.text.as_str();
                match literal.regex.flags.to_string().as_str() {
                    "" => Some(Value::Pattern(text.to_owned())),
                    "i" => Some(Value::Pattern(format!("(?i){text}"))),
                    _ => None,
                }
            }
            Expression::TemplateLiteral(template) => self.template(template)?,
            Expression::Identifier(name) => self.name(&name.name),
            Expression::ParenthesizedExpression(inner) => return self.value(&inner.expression),
            Expression::AwaitExpression(inner) => return self.value(&inner.argument),
            Expression::StaticMemberExpression(member) => {
                self.member(self.value(&member.object)?, &member.property.name, member.optional)
            }
            Expression::ComputedMemberExpression(member) => {
                let name = self.value(&member.expression)?;
                let object = self.value(&member.object)?;
                name.as_literal().and_then(|name| self.member(object, name, member.optional))
            }
            Expression::ChainExpression(chain) => match &chain.expression {
                ChainElement::StaticMemberExpression(member) => {
                    self.member(self.value(&member.object)?, &member.property.name, member.optional)
                }
                ChainElement::CallExpression(call) => self.call(call)?,
                _ => None,
            },
            Expression::UnaryExpression(unary) => {
                self.unary(unary.operator, self.value(&unary.argument)?)
            }
            Expression::BinaryExpression(binary) => self.binary(binary)?,
            Expression::LogicalExpression(logical) => self.logical(logical)?,
            Expression::ObjectExpression(object) => Some(self.object(object)?),
            Expression::CallExpression(call) => self.call(call)?,
            _ => None,
        };
        value.ok_or_else(|| self.unclear(expression))
    }

    /// The second side is evaluated only if the first one is true, or false.
    fn logical(&self, logical: &LogicalExpression<'_>) -> Result<Option<Value>, Unclear> {
        let needed = match logical.operator {
            LogicalOperator::And => true,
            LogicalOperator::Or => false,
            LogicalOperator::Coalesce => return Ok(None),
        };
        let Some(left) = self.value(&logical.left)?.truth() else { return Ok(None) };
        let facts = self.facts.assuming(&left, needed);
        let right = Scope { facts, ..*self }.value(&logical.right)?.truth();
        let right = right.filter(|right| left.size() + right.size() <= MAX_TESTS);
        Ok(right.map(|right| {
            let (left, right) = (Box::new(left), Box::new(right));
            Value::Condition(match logical.operator {
                LogicalOperator::And => Condition::And(left, right),
                _ => Condition::Or(left, right),
            })
        }))
    }

    /// The condition of an `if`.
    pub(super) fn condition(&self, expression: &Expression<'_>) -> Result<Condition, Unclear> {
        self.value(expression)?.truth().ok_or_else(|| self.unclear(expression))
    }

    /// The reason that this part of the code is not understood.
    pub(super) fn unclear(&self, part: &impl GetSpan) -> Unclear {
        let span = part.span();
        let (start, end) = (span.start as usize, span.end as usize);
        let text = self.source.get(start..end).unwrap_or_default();
        let text: Vec<&str> = text.split_whitespace().collect();
        let text = text.join(" ");
        let before = self.source.get(..start).unwrap_or_default();
        let line = Some(before.matches('\n').count() + 1);
        // Texts may be secrets.
        if text.contains(['\'', '"', '`', '/']) {
            return Unclear { line, reason: "it is not understood".to_owned() };
        }
        let is_long = text.chars().count() > LONGEST_SNIPPET;
        let end = if is_long { "…" } else { "" };
        let text: String = text.chars().take(LONGEST_SNIPPET).chain(end.chars()).collect();
        Unclear { line, reason: format!("`{text}` is not understood") }
    }

    fn name(&self, name: &str) -> Option<Value> {
        self.names.get(name).cloned().or(match name {
            "undefined" => Some(Value::Undefined),
            "console" => Some(Value::Console),
            "Buffer" => Some(Value::Buffer),
            _ => None,
        })
    }

    fn template(&self, template: &TemplateLiteral<'_>) -> Result<Option<Value>, Unclear> {
        let mut text = Vec::new();
        for (index, quasi) in template.quasis.iter().enumerate() {
            let Some(cooked) = &quasi.value.cooked else { return Ok(None) };
            text = joined(text, vec![Piece::Literal(cooked.to_string())]);
            if let Some(expression) = template.expressions.get(index) {
                let Value::Text(pieces) = self.value(expression)? else {
                    return Err(self.unclear(expression));
                };
                text = joined(text, pieces);
            }
        }
        text.retain(|piece| *piece != Piece::Literal(String::new()));
        Ok(Some(Value::Text(text)))
    }

    /// A property of a value. `is_optional` means that there is none if there is no value.
    pub(super) fn member(&self, object: Value, name: &str, is_optional: bool) -> Option<Value> {
        let is_there = |name: &String| {
            let subject = Subject::Header(name.clone());
            is_optional || self.facts.known(&Atom { subject, test: Test::Present }) == Some(true)
        };
        Some(match (&object, name) {
            (Value::Event, "request") => Value::Request,
            (Value::Event, "response") => Value::Response,
            (Value::Request, "uri") => Value::Text(self.uri.to_vec()),
            (Value::Request, "headers") => Value::RequestHeaders,
            (Value::Response, "headers") => Value::ResponseHeaders,
            // Names are in lower case, and cookies are elsewhere.
            (Value::RequestHeaders, "cookie") => Value::Undefined,
            (Value::RequestHeaders, _) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
                Value::Undefined
            }
            (Value::RequestHeaders, _) => Value::Header(name.to_owned()),
            (Value::Header(field), "value") if field == HOST => Value::Text(vec![Piece::Host]),
            // Without the field, the function would fail.
            (Value::Header(field), "value") if is_there(field) => {
                Value::Text(vec![Piece::Header(field.clone())])
            }
            (Value::Object(_), _) => object.property(name).cloned().unwrap_or(Value::Undefined),
            (
                Value::Text(_)
                | Value::Bytes(_)
                | Value::Pattern(_)
                | Value::Buffer
                | Value::Console,
                _,
            ) => Value::Method(Box::new(object), name.to_owned()),
            _ => return None,
        })
    }

    #[expect(clippy::unused_self, reason = "the same form as its siblings")]
    fn unary(&self, operator: UnaryOperator, value: Value) -> Option<Value> {
        match (operator, value) {
            (UnaryOperator::LogicalNot, value) => Some(Value::Condition(value.truth()?.negated())),
            (UnaryOperator::UnaryNegation, Value::Number(number)) => Some(Value::Number(-number)),
            // Its only use is the comparison with "undefined".
            (UnaryOperator::Typeof, Value::Header(name)) => {
                Some(Value::Method(Box::new(Value::Header(name)), "typeof".to_owned()))
            }
            _ => None,
        }
    }

    fn binary(&self, binary: &BinaryExpression<'_>) -> Result<Option<Value>, Unclear> {
        let (left, right) = (self.value(&binary.left)?, self.value(&binary.right)?);
        let equal = match binary.operator {
            BinaryOperator::Addition => {
                let (Value::Text(left), Value::Text(right)) = (left, right) else {
                    return Ok(None);
                };
                return Ok(checked_join(left, right).map(Value::Text));
            }
            BinaryOperator::Equality | BinaryOperator::StrictEquality => true,
            BinaryOperator::Inequality | BinaryOperator::StrictInequality => false,
            BinaryOperator::GreaterEqualThan => return Ok(found(left, &right, "0", true)),
            BinaryOperator::GreaterThan => return Ok(found(left, &right, "-1", true)),
            BinaryOperator::LessThan => return Ok(found(left, &right, "0", false)),
            _ => return Ok(None),
        };
        let is_strict = matches!(
            binary.operator,
            BinaryOperator::StrictEquality | BinaryOperator::StrictInequality
        );
        let condition = equality(&left, &right, is_strict);
        let condition = condition.or_else(|| equality(&right, &left, is_strict));
        let condition = condition.map(|is| if equal { is } else { is.negated() });
        Ok(condition.map(Value::Condition))
    }

    fn object(&self, object: &ObjectExpression<'_>) -> Result<Value, Unclear> {
        let mut properties = Vec::new();
        for property in &object.properties {
            let ObjectPropertyKind::ObjectProperty(property) = property else {
                return Err(self.unclear(object));
            };
            let name = match &property.key {
                PropertyKey::StaticIdentifier(name) => name.name.to_string(),
                PropertyKey::StringLiteral(name) => name.value.to_string(),
                _ => return Err(self.unclear(&**property)),
            };
            let is_known = properties.iter().any(|(known, _)| *known == name);
            if property.computed || property.method || is_known {
                return Err(self.unclear(&**property));
            }
            properties.push((name, self.value(&property.value)?));
        }
        Ok(Value::Object(properties))
    }

    /// A call of a method that is known.
    fn call(&self, call: &CallExpression<'_>) -> Result<Option<Value>, Unclear> {
        let Value::Method(object, name) = self.value(&call.callee)? else { return Ok(None) };
        let mut values = Vec::new();
        for argument in &call.arguments {
            match argument {
                Argument::SpreadElement(_) => return Ok(None),
                argument => values.push(self.value(argument.to_expression())?),
            }
        }
        Ok(match (&*object, name.as_str(), &values[..]) {
            (Value::Console, "log" | "error" | "warn" | "info" | "debug", _) => {
                Some(Value::Undefined)
            }
            (Value::Buffer, "from", [Value::Text(text)]) => Some(Value::Bytes(text.clone())),
            (Value::Bytes(text), "toString", [format]) if format.as_literal() == Some("base64") => {
                let text = Value::Text(text.clone());
                text.as_literal().map(|text| Value::literal(&BASE64_STANDARD.encode(text)))
            }
            (Value::Pattern(pattern), "test", [text]) => matching(text, pattern),
            (Value::Text(_), _, [argument, ..]) => {
                self.text_method(&object, &name, argument, &values)
            }
            _ => None,
        })
    }

    #[expect(clippy::unused_self, reason = "the same form as its siblings")]
    fn text_method(
        &self,
        text: &Value,
        name: &str,
        argument: &Value,
        all: &[Value],
    ) -> Option<Value> {
        if let (Value::Pattern(pattern), "match", [_]) = (argument, name, all) {
            return matching(text, pattern);
        }
        if text.subject() == Some(Subject::Host) {
            let is_bare = match (name, all) {
                ("replace", [Value::Pattern(pattern), with]) => {
                    [r"^www\.", "^www."].contains(&&**pattern) && with.as_literal() == Some("")
                }
                // Only the first one is replaced, so the host must begin with it.
                ("replace", [what, with]) => {
                    what.as_literal() == Some("www.") && with.as_literal() == Some("")
                }
                ("slice" | "substring" | "substr", [Value::Number(4.0)]) => true,
                _ => false,
            };
            if is_bare {
                return Some(Value::Text(vec![Piece::BareHost]));
            }
        }
        let ([_], Some(other)) = (all, argument.as_literal().map(str::to_owned)) else {
            return None;
        };
        let subject = text.subject()?;
        let tested = match name {
            "endsWith" => Test::EndsWith(other),
            "startsWith" => Test::StartsWith(other),
            "includes" => Test::Contains(other),
            "indexOf" => return Some(Value::Position(subject, other)),
            _ => return None,
        };
        Some(Value::Condition(Condition::is(subject, tested)))
    }
}

/// Whether a position is that of a text that is found, or not found, if it is compared with this limit.
fn found(position: Value, number: &Value, limit: &str, is_found: bool) -> Option<Value> {
    match (position, number) {
        (Value::Position(subject, text), Value::Number(number)) if number.to_string() == limit => {
            let found = Condition::is(subject, Test::Contains(text));
            Some(Value::Condition(if is_found { found } else { found.negated() }))
        }
        _ => None,
    }
}

/// Whether a text has a regular expression.
fn matching(value: &Value, pattern: &str) -> Option<Value> {
    let test = Test::Matches(pattern.to_owned());
    Some(Value::Condition(Condition::is(value.subject()?, test)))
}

/// Whether a value equals another one.
fn equality(value: &Value, other: &Value, is_strict: bool) -> Option<Condition> {
    let missing = |name: &String| match name.as_str() {
        HOST => Condition::Known(false),
        _ => Condition::is(Subject::Header(name.clone()), Test::Present).negated(),
    };
    match (value, other) {
        (Value::Header(name), Value::Undefined) => Some(missing(name)),
        // A missing field is undefined, which equals null only loosely.
        (Value::Header(_), Value::Null) if is_strict => Some(Condition::Known(false)),
        (Value::Header(name), Value::Null) => Some(missing(name)),
        (Value::Method(object, typeof_), other) if typeof_ == "typeof" => match &**object {
            Value::Header(name) if other.as_literal() == Some("undefined") => Some(missing(name)),
            _ => None,
        },
        (Value::Text(_), other) => {
            let test = Test::Equals(other.as_literal()?.to_owned());
            Some(Condition::is(value.subject()?, test))
        }
        (Value::Position(subject, text), Value::Number(number)) => match *number {
            -1.0 => Some(Condition::is(subject.clone(), Test::Contains(text.clone())).negated()),
            0.0 => Some(Condition::is(subject.clone(), Test::StartsWith(text.clone()))),
            _ => None,
        },
        _ => None,
    }
}
