//! What AWS charges in US dollars, without free tiers, in us-east-1 (N. Virginia), as articles of 2025 and 2026 give it. The services'
//! own pages (`aws.amazon.com/{dynamodb,sqs,lambda,api-gateway}/pricing`) were not at hand: look there before relying on an amount.
//! Units and requests beside the amounts are counted.

/// One line of the table.
pub(crate) struct Price {
    pub(crate) what: &'static str,
    /// How many of it the price is for.
    pub(crate) per: f64,
    pub(crate) dollars: f64,
}

impl Price {
    /// What that many of it cost.
    pub(crate) fn of(&self, count: f64) -> f64 {
        count / self.per * self.dollars
    }
}

const MILLION: f64 = 1_000_000.0;

/// On demand, standard table class.
pub(crate) const WRITE_UNIT: Price = Price { what: "DynamoDB write request units", per: MILLION, dollars: 0.625 };
pub(crate) const READ_UNIT: Price = Price { what: "DynamoDB read request units", per: MILLION, dollars: 0.125 };
/// FIFO for all: standard queues are a fifth cheaper, and few requests go to them.
pub(crate) const QUEUE_REQUEST: Price = Price { what: "SQS requests (FIFO)", per: MILLION, dollars: 0.50 };
pub(crate) const INVOCATION: Price = Price { what: "Lambda requests", per: MILLION, dollars: 0.20 };
/// x86, first tier.
pub(crate) const GB_SECOND: Price = Price { what: "Lambda GB-seconds", per: MILLION, dollars: 16.6667 };
pub(crate) const HTTP_CALL: Price = Price { what: "HTTP API requests", per: MILLION, dollars: 1.00 };

pub(crate) const TABLE: [&Price; 6] = [&WRITE_UNIT, &READ_UNIT, &QUEUE_REQUEST, &INVOCATION, &GB_SECOND, &HTTP_CALL];

/// Prints the table.
pub(crate) fn print() {
    println!("prices (us-east-1, without free tiers)");
    for price in TABLE {
        println!("  {:32} {:9.4} $ per million", price.what, price.dollars * MILLION / price.per);
    }
    println!();
}
