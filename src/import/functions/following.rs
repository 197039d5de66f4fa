//! Follows a function on all its paths.

use std::collections::HashMap;

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    ArrowFunctionBody, AssignmentExpression, AssignmentOperator, AssignmentTarget, BindingPattern,
    Expression, FormalParameters, FunctionBody, Statement, VariableDeclaration,
};
use oxc_parser::Parser;
use oxc_span::SourceType;

use super::{
    Unclear,
    conditions::Facts,
    expressions::Scope,
    value::{Piece, Value, checked_join},
};

/// Longest code in bytes (Amazon CloudFront Developer Guide, "Quotas").
const MAX_SIZE: usize = 10 << 10;

/// Size of the stack of the parser and of what follows its tree: they call themselves for each level of the code.
const STACK: usize = 256 << 20;

/// Most paths of a function.
const MAX_PATHS: usize = 64;

/// A path through a function.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    pub(super) facts: Facts,
    /// The path of the request, as the function has changed it.
    pub(super) uri: Vec<Piece>,
    /// The header fields of the response that the function sets.
    pub(super) fields: Vec<(String, String)>,
    /// What the function returns.
    pub(super) result: Value,
}

/// Follows the function `handler` on all its paths, in the order of its code.
pub(super) fn follow(source: &str) -> Result<Vec<Path>, Unclear> {
    let failed = || Unclear::function("it cannot be read: there is not enough memory");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let thread = thread.spawn_scoped(scope, || follow_here(source)).map_err(|_| failed())?;
        thread.join().unwrap_or_else(|_| Err(failed()))
    })
}

fn follow_here(source: &str) -> Result<Vec<Path>, Unclear> {
    if source.len() > MAX_SIZE {
        return Err(Unclear::function("it is longer than 10 KiB, which CloudFront does not allow"));
    }
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::script()).parse();
    if let Some(error) = parsed.diagnostics.first() {
        return Err(Unclear::function(format!("it is not valid JavaScript: {error}")));
    }
    let mut state = State::new(source);
    let mut handler = None;
    for statement in &parsed.program.body {
        match statement {
            Statement::FunctionDeclaration(function) => {
                let is_handler = function.id.as_ref().is_some_and(|id| id.name == "handler");
                let body = function.body.as_ref().filter(|_| is_handler && !function.generator);
                let body = body.ok_or_else(|| state.scope().unclear(statement))?;
                if handler.replace((&*function.params, &**body)).is_some() {
                    return Err(state.scope().unclear(statement));
                }
            }
            Statement::VariableDeclaration(declaration) => match handler_of(declaration) {
                Some(arrow) if handler.is_none() => handler = Some(arrow),
                Some(_) => return Err(state.scope().unclear(statement)),
                None => state.declare(declaration)?,
            },
            Statement::EmptyStatement(_) => {}
            other => return Err(state.scope().unclear(other)),
        }
    }
    let missing = || Unclear::function("it has no function `handler`");
    let (parameters, body) = handler.ok_or_else(missing)?;
    let [parameter] = &parameters.items[..] else { return Err(missing()) };
    state.bind(&parameter.pattern, Value::Event)?;
    let mut paths = Vec::new();
    for (state, result) in state.run(&body.statements)? {
        let State { facts, uri, fields, .. } = state;
        let result = result
            .ok_or_else(|| Unclear::function("it does not return something on all its paths"))?;
        paths.push(Path { facts, uri, fields, result });
    }
    Ok(paths)
}

/// `const handler = (event) => { … }`.
fn handler_of<'a>(
    declaration: &'a VariableDeclaration<'a>,
) -> Option<(&'a FormalParameters<'a>, &'a FunctionBody<'a>)> {
    let [declarator] = &declaration.declarations[..] else { return None };
    let BindingPattern::BindingIdentifier(name) = &declarator.id else { return None };
    let function = declarator.init.as_ref().filter(|_| name.name == "handler")?;
    match function {
        Expression::ArrowFunctionExpression(arrow) => match &arrow.body {
            ArrowFunctionBody::FunctionBody(body) => Some((&arrow.params, body)),
            _ => None,
        },
        Expression::FunctionExpression(function) if !function.generator => {
            Some((&function.params, function.body.as_ref()?))
        }
        _ => None,
    }
}

fn too_many() -> Unclear {
    Unclear::function("it has too many paths")
}

/// What is known at a place of the function, on one path.
#[derive(Clone)]
struct State<'a> {
    source: &'a str,
    names: HashMap<String, Value>,
    facts: Facts,
    uri: Vec<Piece>,
    fields: Vec<(String, String)>,
}

/// States after some code, with what the function returns there if it ends.
type Ends<'a> = Vec<(State<'a>, Option<Value>)>;

impl<'a> State<'a> {
    fn new(source: &'a str) -> Self {
        let (names, facts, fields) = (HashMap::new(), Facts::default(), Vec::new());
        Self { source, names, facts, uri: vec![Piece::Path], fields }
    }

    fn scope(&self) -> Scope<'_> {
        let (names, uri, facts) = (&self.names, &self.uri, self.facts.clone());
        Scope { source: self.source, names, uri, facts }
    }

    /// Runs statements until the function returns.
    fn run(self, statements: &[Statement<'_>]) -> Result<Ends<'a>, Unclear> {
        let mut ends: Ends<'a> = vec![(self, None)];
        for statement in statements {
            let mut next = Vec::new();
            for (state, result) in ends {
                match result {
                    Some(result) => next.push((state, Some(result))),
                    None => next.extend(state.step(statement)?),
                }
            }
            if next.len() > MAX_PATHS {
                return Err(too_many());
            }
            ends = next;
        }
        Ok(ends)
    }

    fn step(mut self, statement: &Statement<'_>) -> Result<Ends<'a>, Unclear> {
        match statement {
            Statement::EmptyStatement(_) => {}
            Statement::BlockStatement(block) => return self.run(&block.body),
            Statement::VariableDeclaration(declaration) => self.declare(declaration)?,
            Statement::ReturnStatement(returned) => {
                let value = returned.argument.as_ref();
                let value = value.ok_or_else(|| self.scope().unclear(statement))?;
                let value = self.scope().value(value)?;
                return Ok(vec![(self, Some(value))]);
            }
            Statement::IfStatement(test) => {
                let condition = self.scope().condition(&test.test)?;
                let mut ends = Vec::new();
                for (holds, facts) in self.facts.clone().split(&condition).ok_or_else(too_many)? {
                    let state = Self { facts, ..self.clone() };
                    match (holds, &test.alternate) {
                        (true, _) => ends.extend(state.step(&test.consequent)?),
                        (false, Some(alternate)) => ends.extend(state.step(alternate)?),
                        (false, None) => ends.push((state, None)),
                    }
                }
                return Ok(ends);
            }
            Statement::ExpressionStatement(statement) => match &statement.expression {
                Expression::AssignmentExpression(assignment) => self.assign(assignment)?,
                // Its value is not used.
                call @ Expression::CallExpression(_) => {
                    if self.scope().value(call)? != Value::Undefined {
                        return Err(self.scope().unclear(call));
                    }
                }
                other => return Err(self.scope().unclear(other)),
            },
            other => return Err(self.scope().unclear(other)),
        }
        Ok(vec![(self, None)])
    }

    fn declare(&mut self, declaration: &VariableDeclaration<'_>) -> Result<(), Unclear> {
        for declarator in &declaration.declarations {
            let value = match &declarator.init {
                Some(init) => self.scope().value(init)?,
                None => Value::Undefined,
            };
            self.bind(&declarator.id, value)?;
        }
        Ok(())
    }

    /// Gives a value a name, or each of its properties one.
    fn bind(&mut self, pattern: &BindingPattern<'_>, value: Value) -> Result<(), Unclear> {
        match pattern {
            BindingPattern::BindingIdentifier(name) => {
                // In a block, the name could be another variable.
                if self.names.insert(name.name.to_string(), value).is_some() {
                    return Err(self.scope().unclear(pattern));
                }
            }
            BindingPattern::ObjectPattern(object) if object.rest.is_none() => {
                for property in &object.properties {
                    let name = property.key.static_name().filter(|_| !property.computed);
                    let name = name.ok_or_else(|| self.scope().unclear(pattern))?;
                    let member = self.scope().member(value.clone(), &name, false);
                    let member = member.ok_or_else(|| self.scope().unclear(pattern))?;
                    self.bind(&property.value, member)?;
                }
            }
            _ => return Err(self.scope().unclear(pattern)),
        }
        Ok(())
    }

    fn assign(&mut self, assignment: &AssignmentExpression<'_>) -> Result<(), Unclear> {
        let unclear = self.scope().unclear(assignment);
        let value = self.scope().value(&assignment.right)?;
        let (object, name) = match &assignment.left {
            AssignmentTarget::AssignmentTargetIdentifier(name) => {
                let old = self.names.get(name.name.as_str()).cloned();
                let value = assigned(assignment.operator, old, value).ok_or(unclear)?;
                self.names.insert(name.name.to_string(), value);
                return Ok(());
            }
            AssignmentTarget::StaticMemberExpression(member) => {
                (self.scope().value(&member.object)?, member.property.name.to_string())
            }
            AssignmentTarget::ComputedMemberExpression(member) => {
                let name = self.scope().value(&member.expression)?;
                let Some(name) = name.as_literal() else { return Err(unclear) };
                (self.scope().value(&member.object)?, name.to_owned())
            }
            _ => return Err(unclear),
        };
        match (object, name.as_str()) {
            (Value::Request, "uri") => {
                let old = Some(Value::Text(self.uri.clone()));
                let Some(Value::Text(uri)) = assigned(assignment.operator, old, value) else {
                    return Err(unclear);
                };
                self.uri = uri;
            }
            (Value::ResponseHeaders, _) if assignment.operator == AssignmentOperator::Assign => {
                let text = value.property("value").and_then(Value::as_literal);
                let text = text.ok_or(unclear)?.to_owned();
                let name = name.to_ascii_lowercase();
                self.fields.retain(|(own, _)| *own != name);
                self.fields.push((name, text));
            }
            _ => return Err(unclear),
        }
        Ok(())
    }
}

/// The value after an assignment.
fn assigned(operator: AssignmentOperator, old: Option<Value>, new: Value) -> Option<Value> {
    match (operator, old?, new) {
        (AssignmentOperator::Assign, _, new) => Some(new),
        (AssignmentOperator::Addition, Value::Text(old), Value::Text(new)) => {
            checked_join(old, new).map(Value::Text)
        }
        _ => None,
    }
}
