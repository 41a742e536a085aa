//! Commands of one instance, in the order in which they came: sends and questions may run together, everything else waits for
//! what is before it and holds up what is behind it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use shared::{
    Error, Result,
    clock::Millis,
    connector::{Action, COMMAND_VERSION, Command, Request},
    domain::job::{self, Status},
    id::JobId,
    store::{Receipt, Received},
};

use crate::{
    callbacks::Callback,
    port::Port,
    sending::{From, Send},
};

/// Pause before a command that we do not understand is shown again: perhaps to a newer worker.
const NOT_UNDERSTOOD: Duration = Duration::from_secs(5);

/// A question to the platform.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) receipt: Receipt,
    pub(crate) receives: u32,
    pub(crate) job: JobId,
    pub(crate) request: Request,
}

/// What changes the line or the instance as a whole.
#[derive(Debug)]
pub(crate) enum Control {
    Start,
    Reconfigure,
    Reconnect,
    Logout,
    Delete(JobId),
    ExportSession(JobId),
    ImportSession { job: JobId, parcel: String },
}

#[derive(Debug)]
pub(crate) enum Pending {
    Send(Send),
    Ask(Question),
    Callback(Callback),
    Control(Receipt, Control),
}

/// What changes the line, with its message in the queue.
#[derive(Debug)]
pub(crate) struct Turn(pub(crate) Receipt, pub(crate) Control);

#[derive(Debug, Default)]
pub(crate) struct Commands(VecDeque<Pending>);

impl Commands {
    /// Takes received messages in. One that is not understood, and all behind it, are given back: it ends among the dead
    /// letters, or at a newer worker.
    pub(crate) async fn take(&mut self, port: &Port, received: Vec<Received>) {
        let mut stopped = false;
        for message in received {
            let pending = if stopped { None } else { understand(&message) };
            match pending {
                Some(pending) => {
                    port.in_hand.take(&message.receipt);
                    self.0.push_back(pending);
                }
                None => {
                    if !stopped {
                        tracing::error!(instance = %port.owner.id(), receives = message.receives, "a command is not understood");
                    }
                    stopped = true;
                    port.release(&message.receipt, NOT_UNDERSTOOD).await;
                }
            }
        }
    }

    /// Takes out the questions that nothing is before which changes the line.
    pub(crate) fn questions(&mut self) -> Vec<Question> {
        if !self.0.iter().any(|pending| matches!(pending, Pending::Ask(_))) {
            return Vec::new();
        }
        let (mut questions, mut rest) = (Vec::new(), VecDeque::with_capacity(self.0.len()));
        let mut passed = false;
        for pending in self.0.drain(..) {
            match pending {
                Pending::Ask(question) if !passed => questions.push(question),
                pending => {
                    passed |= matches!(pending, Pending::Control(..));
                    rest.push_back(pending);
                }
            }
        }
        self.0 = rest;
        questions
    }

    /// Takes out the callbacks that nothing is before which changes the line.
    pub(crate) fn callbacks(&mut self) -> Vec<Callback> {
        if !self.0.iter().any(|pending| matches!(pending, Pending::Callback(_))) {
            return Vec::new();
        }
        let turn = self.0.iter().position(|pending| matches!(pending, Pending::Control(..))).unwrap_or(self.0.len());
        let rest = self.0.split_off(turn);
        let (callbacks, others): (Vec<_>, Vec<_>) =
            self.0.drain(..).partition(|pending| matches!(pending, Pending::Callback(_)));
        self.0.extend(others.into_iter().chain(rest));
        let of = |pending| match pending {
            Pending::Callback(callback) => Some(callback),
            _ => None,
        };
        callbacks.into_iter().filter_map(of).collect()
    }

    /// Takes out the next send, if it is first.
    pub(crate) fn next_send(&mut self) -> Option<Send> {
        match self.0.pop_front()? {
            Pending::Send(send) => Some(send),
            other => {
                self.0.push_front(other);
                None
            }
        }
    }

    /// Whether what comes next changes the line.
    pub(crate) fn turn_is_next(&self) -> bool {
        matches!(self.0.front(), Some(Pending::Control(..)))
    }

    /// Takes out what comes next, if it changes the line.
    pub(crate) fn next_turn(&mut self) -> Option<Turn> {
        match self.0.pop_front()? {
            Pending::Control(receipt, control) => Some(Turn(receipt, control)),
            other => {
                self.0.push_front(other);
                None
            }
        }
    }

    fn sends(&self) -> impl DoubleEndedIterator<Item = &Send> {
        self.0.iter().filter_map(|pending| match pending {
            Pending::Send(send) => Some(send),
            _ => None,
        })
    }

    pub(crate) fn any_sends(&self) -> bool {
        self.sends().next().is_some()
    }

    /// Whether the queue is far behind.
    pub(crate) fn is_behind(&self, now: Millis) -> bool {
        self.sends().next().is_some_and(|send| send.is_behind(now))
    }

    /// Copies of the sends up to the last one that `due` says.
    pub(crate) fn sends_up_to(&self, due: impl Fn(&Send) -> bool) -> Vec<Send> {
        let behind = self.sends().rev().take_while(|send| !due(send)).count();
        let wanted = self.sends().count() - behind;
        self.sends().take(wanted).cloned().collect()
    }

    /// Takes out the send of this message. `false`: it is not here.
    pub(crate) fn remove_send(&mut self, message: &str) -> bool {
        let is_it = |pending: &Pending| matches!(pending, Pending::Send(send) if send.message == message);
        let at = self.0.iter().position(is_it);
        at.and_then(|at| self.0.remove(at)).is_some()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn understand(message: &Received) -> Option<Pending> {
    let command: Command = message.decode().ok().filter(|command: &Command| command.v == COMMAND_VERSION)?;
    let receipt = message.receipt.clone();
    Some(match command.action {
        Action::Start => Pending::Control(receipt, Control::Start),
        Action::Reconfigure => Pending::Control(receipt, Control::Reconfigure),
        Action::Reconnect => Pending::Control(receipt, Control::Reconnect),
        Action::Logout => Pending::Control(receipt, Control::Logout),
        Action::Delete { job } => Pending::Control(receipt, Control::Delete(job)),
        Action::ExportSession { job } => Pending::Control(receipt, Control::ExportSession(job)),
        Action::ImportSession { job, parcel } => Pending::Control(receipt, Control::ImportSession { job, parcel }),
        Action::Ask { job, request } => Pending::Ask(Question { receipt, receives: message.receives, job, request }),
        Action::Send { .. } => Pending::Send(Send::of(command, From::Queue(receipt))?),
        Action::Callback { parts } => {
            Pending::Callback(Callback { receipt, receives: message.receives, group: message.group.clone(), parts })
        }
    })
}

/// Asks the platform, writes the answer into the job, and only then acknowledges.
pub(crate) async fn ask(port: Arc<Port>, question: Question) {
    let Question { receipt, receives, job, request } = question;
    let answer = match answer(&port, receives, &job, &request).await {
        Ok(Asked::Answer(answer)) => answer,
        Ok(Asked::Over) => return port.acknowledge(&receipt).await,
        Ok(Asked::NotOurs) => return port.release(&receipt, Duration::ZERO).await,
        Err(error) => Err(error),
    };
    match job::finish(port.app(), &job, answer).await {
        Ok(()) => port.acknowledge(&receipt).await,
        Err(error) => {
            tracing::warn!(instance = %port.owner.id(), %job, %error, "an answer was not written");
            port.release(&receipt, Duration::from_secs(1)).await;
        }
    }
}

/// What became of a question.
enum Asked {
    Answer(Result<serde_json::Value>),
    /// Its job has ended already.
    Over,
    /// The lease is over: whoever owns the instance now answers.
    NotOurs,
}

/// Asks. Errors are answers, too: then it was certainly not asked.
async fn answer(port: &Port, receives: u32, job: &JobId, request: &Request) -> Result<Asked> {
    let again = may_be_repeated(request);
    if receives > 1 {
        let job = job::get(port.app(), job).await?;
        let Some(job) = job.filter(|job| !matches!(job.status, Status::Done | Status::Failed)) else {
            return Ok(Asked::Over);
        };
        if !again && job.status == Status::Running {
            let error = Error::unavailable("asked before a crash");
            return Ok(Asked::Answer(Err(error.code("OUTCOME_UNKNOWN"))));
        }
    }
    if !port.lease_is_valid() {
        return Ok(Asked::NotOurs);
    }
    let Some(line) = port.line() else {
        let text = format!("Instance {} not ready", port.owner.id());
        return Ok(Asked::Answer(Err(Error::conflict("INSTANCE_NOT_READY", text))));
    };
    if !again {
        // Whoever gets this command after a crash must know that it was asked. One that was only given back is asked then.
        job::progress(port.app(), job, 0, None).await?;
        if !port.lease_is_valid() {
            return Err(Error::unavailable("the lease is over"));
        }
    }
    let limit = port.context.settings.ask;
    let answer = tokio::time::timeout(limit, line.ask(request.clone())).await;
    let late = || Err(Error::unavailable("the platform did not answer").code("PLATFORM_TIMEOUT"));
    Ok(Asked::Answer(answer.unwrap_or_else(|_| late())))
}

/// Whether asking twice is the same as asking once.
fn may_be_repeated(request: &Request) -> bool {
    match request {
        Request::PairingCode { .. }
        | Request::Check { .. }
        | Request::ProfilePicture { .. }
        | Request::SyncContacts
        | Request::MarkRead { .. }
        | Request::Typing { .. }
        | Request::Groups
        | Request::GroupParticipants { .. }
        | Request::GroupSubject { .. }
        | Request::GroupInvite { .. }
        | Request::GroupLeave { .. }
        | Request::WatchPresence { .. }
        | Request::Lid { .. }
        | Request::Sandbox { .. } => true,
        Request::GroupCreate { .. } => false,
    }
}
