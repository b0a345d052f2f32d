//! The feed: a position in the data; requests for rows in, blocks of rows out. It is pulled, so it never runs ahead of the agent.

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use grandmodel_market::TableSpan;

use crate::{
    AgentsError,
    messages::{NextRows, OpenSpan, RowBlock},
    schedule::{Run, ready_runs},
};

/// Most rows in one block.
pub const MAX_BLOCK_ROWS: u32 = 1 << 16;

/// Serves the ready rows of one span.
#[derive(Default)]
pub struct Feed {
    span: Option<TableSpan>,
    /// Runs not yet served, last first.
    runs: Vec<Run>,
}

impl Actor for Feed {
    type Context = Context<Self>;
}

impl Handler<OpenSpan> for Feed {
    type Result = Result<(), AgentsError>;

    fn handle(&mut self, message: OpenSpan, _: &mut Self::Context) -> Self::Result {
        self.runs = ready_runs(std::slice::from_ref(&message.span))?;
        self.runs.reverse();
        self.span = Some(message.span);
        Ok(())
    }
}

impl Handler<NextRows> for Feed {
    type Result = Result<Option<RowBlock>, AgentsError>;

    fn handle(&mut self, message: NextRows, _: &mut Self::Context) -> Self::Result {
        let (Some(span), Some(run)) = (&self.span, self.runs.last_mut()) else { return Ok(None) };
        let end = run.rows.end.min(run.rows.start + message.max_rows.clamp(1, MAX_BLOCK_ROWS));
        let rows: Arc<[u32]> = (run.rows.start..end).collect();
        run.rows.start = end;
        let ends_run = run.rows.is_empty();
        let block = RowBlock { table: span.table.clone(), rows, ends_run };
        if ends_run {
            self.runs.pop();
        }
        Ok(Some(block))
    }
}
