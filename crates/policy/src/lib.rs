//! Permission policy: rules in, decisions out
