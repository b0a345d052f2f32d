//! The simulated venue as an actor: approved orders and bars in, reports of fills out. A paper or live venue answers the same messages.

use actix::{Actor, Context, Handler};
use grandmodel_market::venue::{BarReport, OrderId, SimVenue};

use crate::{
    AgentsError,
    messages::{ClosePosition, OpenAccount, PassBar, SubmitOrder},
};

/// One account at the simulated venue.
#[derive(Default)]
pub struct Venue {
    venue: Option<SimVenue>,
}

impl Venue {
    fn open(&mut self) -> Result<&mut SimVenue, AgentsError> {
        self.venue.as_mut().ok_or_else(|| AgentsError::Actor { actor: "venue", cause: "no account is open".into() })
    }
}

impl Actor for Venue {
    type Context = Context<Self>;
}

impl Handler<OpenAccount> for Venue {
    type Result = Result<(), AgentsError>;

    fn handle(&mut self, message: OpenAccount, _: &mut Self::Context) -> Self::Result {
        self.venue = Some(SimVenue::new(message.cash_micros, message.costs)?);
        Ok(())
    }
}

impl Handler<SubmitOrder> for Venue {
    type Result = Result<OrderId, AgentsError>;

    fn handle(&mut self, message: SubmitOrder, _: &mut Self::Context) -> Self::Result {
        Ok(self.open()?.submit(message.order.get())?)
    }
}

impl Handler<PassBar> for Venue {
    type Result = Result<BarReport, AgentsError>;

    fn handle(&mut self, message: PassBar, _: &mut Self::Context) -> Self::Result {
        Ok(self.open()?.on_bar(&message.bar)?)
    }
}

impl Handler<ClosePosition> for Venue {
    type Result = Result<BarReport, AgentsError>;

    fn handle(&mut self, message: ClosePosition, _: &mut Self::Context) -> Self::Result {
        Ok(self.open()?.close_out(&message.bar, message.kind)?)
    }
}
