//! Evaluates expressions of a function.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use oxc_ast::ast::{
    Argument, BinaryExpression, BinaryOperator, CallExpression, ChainElement, Expression,
    LogicalOperator, ObjectExpression, ObjectPropertyKind, PropertyKey, TemplateLiteral,
    UnaryOperator,
};
use oxc_span::GetSpan;

use super::{
    Unclear,
    conditions::{Condition, Subject, Test},
    value::{Piece, Value, joined},
};

/// What is known while an expression is evaluated.
pub(super) struct Scope<'a> {
    pub(super) source: &'a str,
    pub(super) names: &'a HashMap<String, Value>,
    /// The path of the request, as the function has changed it.
    pub(super) uri: &'a [Piece],
}

impl Scope<'_> {
    pub(super) fn value(&self, expression: &Expression<'_>) -> Result<Value, Unclear> {
        let value = match expression {
            Expression::StringLiteral(literal) => Some(Value::literal(&literal.value)),
            Expression::NumericLiteral(literal) => Some(Value::Number(literal.value)),
            Expression::BooleanLiteral(literal) => {
                Some(Value::Condition(Condition::Known(literal.value)))
            }
            Expression::NullLiteral(_) => Some(Value::Undefined),
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
                self.member(self.value(&member.object)?, &member.property.name)
            }
            Expression::ComputedMemberExpression(member) => {
                let name = self.value(&member.expression)?;
                let object = self.value(&member.object)?;
                name.as_literal().and_then(|name| self.member(object, name))
            }
            Expression::ChainExpression(chain) => match &chain.expression {
                ChainElement::StaticMemberExpression(member) => {
                    self.member(self.value(&member.object)?, &member.property.name)
                }
                ChainElement::CallExpression(call) => self.call(call)?,
                _ => None,
            },
            Expression::UnaryExpression(unary) => {
                self.unary(unary.operator, self.value(&unary.argument)?)
            }
            Expression::BinaryExpression(binary) => self.binary(binary)?,
            Expression::LogicalExpression(logical) => {
                let both = [&logical.left, &logical.right].map(|side| self.value(side));
                let [Ok(left), Ok(right)] = both else { return Err(self.unclear(expression)) };
                let sides = left.truth().zip(right.truth());
                sides.and_then(|(left, right)| {
                    let (left, right) = (Box::new(left), Box::new(right));
                    match logical.operator {
                        LogicalOperator::And => Some(Condition::And(left, right)),
                        LogicalOperator::Or => Some(Condition::Or(left, right)),
                        LogicalOperator::Coalesce => None,
                    }
                    .map(Value::Condition)
                })
            }
            Expression::ObjectExpression(object) => Some(self.object(object)?),
            Expression::CallExpression(call) => self.call(call)?,
            _ => None,
        };
        value.ok_or_else(|| self.unclear(expression))
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
        let text: String = text.join(" ").chars().take(60).collect();
        let before = self.source.get(..start).unwrap_or_default();
        let line = Some(before.matches('\n').count() + 1);
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

    /// A property of a value.
    pub(super) fn member(&self, object: Value, name: &str) -> Option<Value> {
        Some(match (&object, name) {
            (Value::Event, "request") => Value::Request,
            (Value::Event, "response") => Value::Response,
            (Value::Request, "uri") => Value::Text(self.uri.to_vec()),
            (Value::Request, "headers") => Value::RequestHeaders,
            (Value::Response, "headers") => Value::ResponseHeaders,
            (Value::RequestHeaders, _) => Value::Header(name.to_ascii_lowercase()),
            (Value::Header(field), "value") if field == "host" => Value::Text(vec![Piece::Host]),
            (Value::Header(field), "value") => Value::Text(vec![Piece::Header(field.clone())]),
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
                return Ok(Some(Value::Text(joined(left, right))));
            }
            BinaryOperator::Equality | BinaryOperator::StrictEquality => true,
            BinaryOperator::Inequality | BinaryOperator::StrictInequality => false,
            BinaryOperator::GreaterEqualThan => return Ok(found(left, &right, "0", true)),
            BinaryOperator::GreaterThan => return Ok(found(left, &right, "-1", true)),
            BinaryOperator::LessThan => return Ok(found(left, &right, "0", false)),
            _ => return Ok(None),
        };
        let condition = equality(&left, &right).or_else(|| equality(&right, &left));
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
            if property.computed || property.method {
                return Err(self.unclear(&**property));
            }
            properties.push((name, self.value(&property.value)?));
        }
        Ok(Value::Object(properties))
    }

    /// A call of a method that is known.
    fn call(&self, call: &CallExpression<'_>) -> Result<Option<Value>, Unclear> {
        let Value::Method(object, name) = self.value(&call.callee)? else { return Ok(None) };
        if *object == Value::Console {
            return Ok(Some(Value::Undefined));
        }
        let mut values = Vec::new();
        for argument in &call.arguments {
            match argument {
                Argument::SpreadElement(_) => return Ok(None),
                argument => values.push(self.value(argument.to_expression())?),
            }
        }
        Ok(match (&*object, name.as_str(), &values[..]) {
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
fn equality(value: &Value, other: &Value) -> Option<Condition> {
    let present = |name: &String| Condition::is(Subject::Header(name.clone()), Test::Present);
    match (value, other) {
        (Value::Header(name), Value::Undefined) => Some(present(name).negated()),
        (Value::Method(object, typeof_), other) if typeof_ == "typeof" => match &**object {
            Value::Header(name) if other.as_literal() == Some("undefined") => {
                Some(present(name).negated())
            }
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
