//! Undoing half-done work: a list of actions that run backwards unless everything succeeded.

/// Actions to run, last first, when dropped without [`Rollback::disarm`].
#[derive(Default)]
pub struct Rollback {
    actions: Vec<Box<dyn FnOnce()>>,
}

impl Rollback {
    /// Adds an action.
    pub fn push(&mut self, action: impl FnOnce() + 'static) {
        self.actions.push(Box::new(action));
    }

    /// Everything succeeded: nothing is undone.
    pub fn disarm(&mut self) {
        self.actions.clear();
    }
}

impl Drop for Rollback {
    fn drop(&mut self) {
        while let Some(action) = self.actions.pop() {
            action();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn actions_run_backwards_unless_disarmed() {
        let log = Rc::new(RefCell::new(Vec::new()));
        for disarm in [false, true] {
            let mut rollback = Rollback::default();
            for number in [1, 2] {
                let log = Rc::clone(&log);
                rollback.push(move || log.borrow_mut().push(number));
            }
            if disarm {
                rollback.disarm();
            }
        }
        assert_eq!(*log.borrow(), [2, 1]);
    }
}
