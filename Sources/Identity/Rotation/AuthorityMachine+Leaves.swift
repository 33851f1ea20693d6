import Time

extension AuthorityMachine {
    /// Workload certificates that may be in use: how many of each issuer, and when the first of them ends. Of several
    /// that a holder was given by one issuer one after the other, one counts. Walks everybody: for status only.
    public func outstandingLeaves(
        now: Timestamp
    ) -> (byIssuer: [AuthorityID: Int], earliest: Timestamp?) {
        var counts: [AuthorityID: Int] = [:]
        var earliest: Timestamp?
        for record in table.records.values {
            for leaf in record.leaves where leaf.notAfter > now {
                counts[leaf.issuer, default: 0] += 1
                earliest = min(earliest ?? leaf.notAfter, leaf.notAfter)
            }
        }
        return (counts, earliest)
    }
}
