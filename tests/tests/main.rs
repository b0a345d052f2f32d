//! Tests of the house as a whole: its rules as files (floors, tidy, messages, links) and its walks from bars to a report.

mod floors;
mod links;
mod messages;
mod repository;
mod tidy;
