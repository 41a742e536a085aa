//! Commands of one instance, in the order in which they came: sends and questions that stand together run together, everything
//! else waits for what is before it and holds up what is behind it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use shared::{
    Error, Result,
    connector::{Action, COMMAND_VERSION, Command, Request},
    domain::job::{self, Status},
    id::JobId,
    store::{Receipt, Received},
};

use crate::{
    port::Port,
    sending::{self, From, Send},
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
}

#[derive(Debug)]
pub(crate) enum Pending {
    Send(Send),
    Ask(Question),
    Control(Receipt, Control),
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Sends and questions that may run now.
    Together(Vec<Send>, Vec<Question>),
    Control(Receipt, Control),
}

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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether [`Commands::next`] would begin a send.
    pub(crate) fn sends_next(&self) -> bool {
        let mut next = self.0.iter().take_while(|pending| !matches!(pending, Pending::Control(..)));
        next.any(|pending| matches!(pending, Pending::Send(_)))
    }

    /// Takes out what comes next.
    pub(crate) fn next(&mut self) -> Option<Next> {
        let (mut sends, mut questions) = (Vec::new(), Vec::new());
        while let Some(pending) = self.0.pop_front() {
            match pending {
                Pending::Send(send) => sends.push(send),
                Pending::Ask(question) => questions.push(question),
                Pending::Control(receipt, control) if sends.is_empty() && questions.is_empty() => {
                    return Some(Next::Control(receipt, control));
                }
                control @ Pending::Control(..) => {
                    self.0.push_front(control);
                    break;
                }
            }
        }
        (!sends.is_empty() || !questions.is_empty()).then_some(Next::Together(sends, questions))
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
        Action::Ask { job, request } => Pending::Ask(Question { receipt, receives: message.receives, job, request }),
        Action::Send { .. } => {
            Pending::Send(sending::of(command, From::Queue { receipt, receives: message.receives })?)
        }
    })
}

/// Asks the platform, writes the answer into the job, and only then acknowledges.
pub(crate) async fn ask(port: Arc<Port>, question: Question) {
    let Question { receipt, receives, job, request } = question;
    let answer = match before(&port, receives, &job, &request).await {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            port.acknowledge(&receipt).await;
            return;
        }
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

type Answer = Result<serde_json::Value>;

/// The answer; `None` if the job is over.
async fn before(port: &Port, receives: u32, job: &JobId, request: &Request) -> Result<Option<Answer>> {
    if receives > 1 {
        let over = job::get(port.app(), job).await?;
        if over.is_none_or(|job| matches!(job.status, Status::Done | Status::Failed)) {
            return Ok(None);
        }
        if !may_be_repeated(request) {
            let error = Error::unavailable("asked before a crash");
            return Ok(Some(Err(error.code("OUTCOME_UNKNOWN"))));
        }
    }
    let Some(line) = port.line().filter(|_| port.lease_is_valid()) else {
        let text = format!("Instance {} not ready", port.owner.id());
        return Ok(Some(Err(Error::conflict("INSTANCE_NOT_READY", text))));
    };
    let limit = port.context.settings.ask;
    let answer = tokio::time::timeout(limit, line.ask(request.clone())).await;
    Ok(Some(answer.unwrap_or_else(|_| Err(Error::unavailable("the platform did not answer").code("PLATFORM_TIMEOUT")))))
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
        | Request::Lid { .. }
        | Request::Sandbox { .. } => true,
        Request::GroupCreate { .. } => false,
    }
}
