// SPDX-License-Identifier: GPL-2.0-only
//! The choices of one run. A run repeats the choices that it is given, then takes the first of each.

/// A choice: what was taken, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub taken: u8,
    pub of: u8,
}

/// All choices of a run, in their order.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    choices: Vec<Choice>,
    at: usize,
}

impl Trail {
    /// A run that begins with these choices.
    pub fn starting_with(choices: &[Choice]) -> Self {
        Self { choices: choices.to_vec(), at: 0 }
    }

    /// One of `of` ways.
    pub fn choose(&mut self, of: usize) -> usize {
        let of = u8::try_from(of).expect("few ways");
        if of <= 1 {
            return 0;
        }
        if self.at == self.choices.len() {
            self.choices.push(Choice { taken: 0, of });
        }
        let choice = self.choices[self.at];
        assert_eq!(choice.of, of, "a run repeats itself");
        self.at += 1;
        choice.taken.into()
    }

    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// The next run that keeps the first `keep` choices. `None` if that was the last one.
    pub fn next(&self, keep: usize) -> Option<Vec<Choice>> {
        let mut choices = self.choices.clone();
        while choices.len() > keep {
            let last = choices.last_mut()?;
            if last.taken + 1 < last.of {
                last.taken += 1;
                return Some(choices);
            }
            choices.pop();
        }
        None
    }
}
