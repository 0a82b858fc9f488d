//! Filters of system calls, which the host's kernel applies (seccomp).

use crate::ConfineError;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::{collections::BTreeMap, env::consts::ARCH};
use syscalls::Sysno;

/// Calls by their number, each with the lines of conditions of which one must hold, if there are any.
type Calls = BTreeMap<i64, Vec<Vec<Condition>>>;

/// What becomes of system calls. Those that are not named here raise SIGSYS.
#[derive(Debug, Default)]
pub struct Rules {
    allowed: Calls,
    /// They fail with EACCES.
    refused: Calls,
}

/// What an argument of a system call, by its number from 0, must be. Of each only the lower 32 bits
/// count, which is all that the kernel looks at where these are used.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// This value.
    Is(u8, u32),
    /// A value with all of these bits.
    Has(u8, u32),
    /// A value with none of these bits.
    Lacks(u8, u32),
}

impl Rules {
    /// Allows these calls, whatever their arguments.
    pub fn allow(mut self, calls: &[Sysno]) -> Self {
        for call in calls {
            self.allowed.insert(call.id().into(), Vec::new());
        }
        self
    }

    /// Allows a call if all of these conditions hold, or those of another line for it.
    pub fn allow_if(mut self, call: Sysno, conditions: &[Condition]) -> Self {
        self.allowed.entry(call.id().into()).or_default().push(conditions.to_vec());
        self
    }

    /// Lets these calls fail.
    pub fn refuse(mut self, calls: &[Sysno]) -> Self {
        for call in calls {
            self.refused.insert(call.id().into(), Vec::new());
        }
        self
    }

    /// Lets a call fail if all of these conditions hold.
    pub fn refuse_if(mut self, call: Sysno, conditions: &[Condition]) -> Self {
        self.refused.entry(call.id().into()).or_default().push(conditions.to_vec());
        self
    }

    /// The programs in the order in which they must be applied. Of what they say the strictest counts,
    /// and SIGSYS is stricter than an error: what the first refuses, the second must allow.
    fn compile(self) -> Result<[BpfProgram; 2], BackendError> {
        let Self { mut allowed, refused } = self;
        allowed.extend(refused.clone());
        let error = SeccompAction::Errno(libc::EACCES as u32);
        Ok([
            compile(refused, error, SeccompAction::Allow)?,
            compile(allowed, SeccompAction::Allow, SeccompAction::Trap)?,
        ])
    }
}

fn compile(
    calls: Calls,
    action: SeccompAction,
    of_others: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let rule = |conditions: Vec<Condition>| {
        let compiled: Result<_, _> = conditions.into_iter().map(Condition::compile).collect();
        SeccompRule::new(compiled?)
    };
    let rules = |(call, rules): (i64, Vec<Vec<Condition>>)| {
        Ok((call, rules.into_iter().map(rule).collect::<Result<_, _>>()?))
    };
    let all: Result<_, BackendError> = calls.into_iter().map(rules).collect();
    SeccompFilter::new(all?, of_others, action, TargetArch::try_from(ARCH)?)?.try_into()
}

impl Condition {
    fn compile(self) -> Result<SeccompCondition, BackendError> {
        let (argument, operator, value) = match self {
            Self::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            Self::Has(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits.into()), bits),
            Self::Lacks(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits.into()), 0),
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into())
    }
}

/// Filters the calls of this thread, and of all that it starts.
pub fn apply(rules: Rules) -> Result<(), ConfineError> {
    let programs = rules.compile().map_err(Error::from)?;
    programs.iter().try_for_each(|program| unless_missing(seccompiler::apply_filter(program)))
}

/// Filters the calls of all threads of this process.
pub fn apply_to_all_threads(rules: Rules) -> Result<(), ConfineError> {
    let programs = rules.compile().map_err(Error::from)?;
    let apply =
        |program: &BpfProgram| unless_missing(seccompiler::apply_filter_all_threads(program));
    programs.iter().try_for_each(apply)
}

/// A kernel that was built without filters does not know them.
fn unless_missing(applied: Result<(), Error>) -> Result<(), ConfineError> {
    match applied {
        Err(Error::Seccomp(error))
            if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) =>
        {
            Ok(())
        }
        applied => Ok(applied?),
    }
}
