//! Leaves out tests that make no difference.

use super::{
    conditions::{Atom, Facts, Test},
    following::Path,
};

/// The paths of a function as a tree of tests.
#[derive(Clone, PartialEq)]
enum Tree {
    /// The rest of a path, without facts.
    Leaf(Path),
    Test(Atom, Box<Self>, Box<Self>),
}

/// The same paths without tests that make no difference.
pub(super) fn simplified(paths: Vec<Path>) -> Vec<Path> {
    let mut simple = Vec::with_capacity(paths.len());
    if let Some(tree) = Tree::of(paths, 0) {
        tree.flatten(&mut Vec::new(), &mut simple);
    }
    simple
}

impl Tree {
    /// The tree of paths that have the same first facts.
    fn of(mut paths: Vec<Path>, depth: usize) -> Option<Self> {
        let Some((atom, _)) = paths.first()?.facts.0.get(depth).cloned() else {
            return paths.pop().map(|path| Self::Leaf(Path { facts: Facts::default(), ..path }));
        };
        let holds = |path: &Path| path.facts.0.get(depth).is_some_and(|(_, holds)| *holds);
        let (yes, no) = paths.into_iter().partition(holds);
        Some(match (Self::of(yes, depth + 1), Self::of(no, depth + 1)) {
            (Some(yes), Some(no)) => Self::test(atom, yes, no),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return None,
        })
    }

    fn test(atom: Atom, yes: Self, no: Self) -> Self {
        if yes == no {
            return yes;
        }
        // A missing field has no value that a test could find.
        if atom.test == Test::Present
            && let Self::Test(inner, _, otherwise) = &yes
            && inner.subject == atom.subject
            && **otherwise == no
        {
            return yes;
        }
        Self::Test(atom, Box::new(yes), Box::new(no))
    }

    fn flatten(self, facts: &mut Vec<(Atom, bool)>, paths: &mut Vec<Path>) {
        match self {
            Self::Leaf(path) => paths.push(Path { facts: Facts(facts.clone()), ..path }),
            Self::Test(atom, yes, no) => {
                for (tree, holds) in [(yes, true), (no, false)] {
                    facts.push((atom.clone(), holds));
                    tree.flatten(facts, paths);
                    facts.pop();
                }
            }
        }
    }
}
