//! Ground-floor values: trust domains, SPIFFE IDs, serials, lineages, times
