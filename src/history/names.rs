//! Strings and models that many rows of a session have in common, each held once.

use std::collections::HashSet;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::{Head, ModelRef, Role};

/// What the rows that were read so far have named.
#[derive(Debug, Default)]
pub struct Names {
    strings: HashSet<Rc<str>, RandomState>,
    /// A session is answered by few models.
    models: Vec<Rc<ModelRef>>,
}

impl Names {
    /// The text, held once.
    pub fn string(&mut self, text: &str) -> Rc<str> {
        if let Some(known) = self.strings.get(text) {
            return Rc::clone(known);
        }
        let new: Rc<str> = text.into();
        self.strings.insert(Rc::clone(&new));
        new
    }

    /// The model, held once.
    pub fn model(&mut self, provider: &str, model: &str) -> Rc<ModelRef> {
        if let Some(known) = self.models.iter().find(|m| m.provider == provider && m.model == model) {
            return Rc::clone(known);
        }
        let new = Rc::new(ModelRef { provider: provider.to_owned(), model: model.to_owned() });
        self.models.push(Rc::clone(&new));
        new
    }

    /// Lets a row that was read without these names hold them once as well.
    pub fn share(&mut self, head: &mut Head) {
        head.row.session_id = self.string(&head.row.session_id);
        if let Role::User(user) = &mut head.role {
            user.agent = user.agent.as_deref().map(|agent| self.string(agent));
            user.model = user.model.as_ref().map(|m| self.model(&m.provider, &m.model));
        }
    }
}
