import ControlPlane
import Documents
import Protobuf
import Time

/// The authority's status as it is printed.
struct AuthorityText {
    private let report: AuthorityReport
    /// How many proxies of a rotation are named in a table; -o json has them all.
    private static let awaitedLimit = 20

    init(_ report: AuthorityReport) { self.report = report }

    private func left(_ time: Timestamp) -> String {
        let left = time - report.now
        return left <= .zero ? "expired \((.zero - left).brief) ago" : left.brief
    }

    // MARK: For people

    func table(on terminal: Terminal) -> String {
        var text = "trust domain " + terminal.paint(report.trustDomain.printable, .bold) + "\n"
        text += section("AUTHORITIES", authorities.render(on: terminal), terminal)
        text += section("CERTIFICATES", certificates, terminal)
        for rotation in report.rotations { text += section("ROTATION", tell(rotation, on: terminal), terminal) }
        if !report.timeline.isEmpty {
            var table = TextTable(["WHEN", "IN", "WHAT"])
            for event in report.timeline {
                let isDue = event.at <= report.now
                table.add([
                    .init(event.at.rfc3339), .init(isDue ? "now" : (event.at - report.now).brief), .init(event.what),
                ])
            }
            text += section("TIMELINE", table.render(on: terminal), terminal)
        }
        if !report.federatedBundles.isEmpty {
            text += section("FEDERATED BUNDLES", bundles.render(on: terminal), terminal)
        }
        for skew in report.clockSkews { text += terminal.paint("clock:", .yellow) + " " + skew.printable + "\n" }
        for problem in report.allProblems { text += terminal.paint("problem:", .red) + " " + problem.printable + "\n" }
        return text
    }

    private func section(_ title: String, _ body: String, _ terminal: Terminal) -> String {
        body.isEmpty ? "" : "\n" + terminal.paint(title, .bold) + "\n" + body + "\n"
    }

    private var authorities: TextTable {
        var table = TextTable(["TIER", "STATE", "ID", "SUBJECT", "NOT BEFORE", "NOT AFTER", "LEFT", "KEY", "LEAVES"])
        for authority in report.authorities {
            let end = authority.validity.upperBound
            let color: Terminal.Color? =
                switch authority.state {
                case "active": .green
                case "prepared": .cyan
                default: .yellow
                }
            table.add([
                .init(authority.tier), .init(authority.state, color), .init(String(authority.id.prefix(12))),
                .init(authority.subject), .init(authority.validity.lowerBound.rfc3339), .init(end.rfc3339),
                .init(left(end), end <= report.now ? .red : nil), .init(authority.hasKey ? "here" : "elsewhere"),
                .init("\(authority.outstandingLeaves)"),
            ])
        }
        return table
    }

    private var certificates: String {
        var text = "workloads: \(report.outstandingLeaves) in use"
        if let first = report.earliestLeafExpiry { text += ", the first expires \(first.rfc3339) (\(left(first)))" }
        text += "\n"
        if let own = report.serverExpiry { text += "this server: expires \(own.rfc3339) (\(left(own)))\n" }
        return text
    }

    private func tell(_ rotation: AuthorityReport.Rotation, on terminal: Terminal) -> String {
        var text = "\(rotation.tier): " + terminal.paint(rotation.phase, .cyan)
        text += " since \(rotation.phaseSince.rfc3339) (\((report.now - rotation.phaseSince).brief))"
        text += ", waits for \(rotation.awaitedCount)"
        if let forced = rotation.forcedAt {
            text +=
                forced <= report.now ? ", and no longer for who is away" : ", for who is away until \(forced.rfc3339)"
        }
        text += "\n"
        guard !rotation.awaited.isEmpty else { return text }
        var table = TextTable(["NODE", "IDENTITY", "CONNECTED", "HOLDS", "UNTIL"])
        for holder in rotation.awaited.prefix(Self.awaitedLimit) {
            table.add([
                .init(holder.nodeID), .init(holder.spiffeID),
                .init(holder.isConnected ? "yes" : "no", holder.isConnected ? nil : .yellow), .init(holder.holds),
                .init(holder.until?.rfc3339 ?? ""),
            ])
        }
        text += table.render(on: terminal)
        let more = rotation.awaitedCount - min(rotation.awaited.count, Self.awaitedLimit)
        if more > 0 { text += "… and \(more) more; -o json names up to \(AuthorityReport.Rotation.awaitedLimit)\n" }
        return text
    }

    private var bundles: TextTable {
        var table = TextTable(["TRUST DOMAIN", "SOURCE", "SEQUENCE", "X.509", "JWT", "REFRESHED", "NEXT", "PROBLEM"])
        for bundle in report.federatedBundles {
            table.add([
                .init(bundle.trustDomain), .init(bundle.source), .init("\(bundle.sequence)"),
                .init("\(bundle.x509Authorities)"), .init("\(bundle.jwtAuthorities)"),
                .init(bundle.refreshedAt?.rfc3339 ?? "never"), .init(bundle.nextRefreshAt?.rfc3339 ?? ""),
                .init(bundle.problem, .red),
            ])
        }
        return table
    }

    // MARK: For scripts

    var document: DocumentNode {
        var members: [(String, DocumentNode)] = [
            ("trust_domain", .string(report.trustDomain)), ("now", .string(report.now.rfc3339)),
            ("authorities", .list(report.authorities.map(document))),
            (
                "leaves",
                .object([("outstanding", .number(report.outstandingLeaves))] + expiry(report.earliestLeafExpiry))
            ),
        ]
        if let own = report.serverExpiry { members.append(("server", .object(expiry(own)))) }
        members += [
            ("rotations", .list(report.rotations.map(document))),
            ("timeline", .list(report.timeline.map { .object([("at", time($0.at)), ("what", .string($0.what))]) })),
            ("federated_bundles", .list(report.federatedBundles.map(document))),
            ("clock_skews", .list(report.clockSkews.map(DocumentNode.string))),
            ("problems", .list(report.allProblems.map(DocumentNode.string))),
        ]
        return .object(members)
    }

    private func time(_ time: Timestamp) -> DocumentNode { .string(time.rfc3339) }

    private func expiry(_ end: Timestamp?) -> [(String, DocumentNode)] {
        guard let end else { return [] }
        return [("not_after", time(end)), ("seconds_to_expiry", .number(Int((end - report.now).components.seconds)))]
    }

    private func document(_ authority: AuthorityReport.Authority) -> DocumentNode {
        .object(
            [
                ("id", .string(authority.id)), ("tier", .string(authority.tier)),
                ("issuer", .string(authority.issuer)), ("state", .string(authority.state)),
                ("subject", .string(authority.subject)), ("not_before", time(authority.validity.lowerBound)),
            ] + expiry(authority.validity.upperBound) + [
                ("key_is_here", .truth(authority.hasKey)),
                ("outstanding_leaves", .number(authority.outstandingLeaves)),
            ])
    }

    private func document(_ rotation: AuthorityReport.Rotation) -> DocumentNode {
        var members: [(String, DocumentNode)] = [
            ("tier", .string(rotation.tier)), ("phase", .string(rotation.phase)),
            ("phase_since", time(rotation.phaseSince)),
        ]
        if let forced = rotation.forcedAt { members.append(("forced_at", time(forced))) }
        let awaited = rotation.awaited.map { holder in
            DocumentNode.object(
                [
                    ("node", .string(holder.nodeID)), ("spiffe_id", .string(holder.spiffeID)),
                    ("connected", .truth(holder.isConnected)), ("holds", .string(holder.holds)),
                ] + (holder.until.map { [("until", time($0))] } ?? []))
        }
        return .object(members + [("awaited_count", .number(rotation.awaitedCount)), ("awaited", .list(awaited))])
    }

    private func document(_ bundle: AuthorityReport.FederatedBundle) -> DocumentNode {
        var members: [(String, DocumentNode)] = [
            ("trust_domain", .string(bundle.trustDomain)), ("source", .string(bundle.source)),
            ("sequence", .number(Int(clamping: bundle.sequence))),
            ("x509_authorities", .number(bundle.x509Authorities)),
            ("jwt_authorities", .number(bundle.jwtAuthorities)),
        ]
        if let refreshed = bundle.refreshedAt { members.append(("refreshed_at", time(refreshed))) }
        if let next = bundle.nextRefreshAt { members.append(("next_refresh_at", time(next))) }
        if !bundle.problem.isEmpty { members.append(("problem", .string(bundle.problem))) }
        return .object(members)
    }
}

extension DocumentNode {
    static func truth(_ value: Bool) -> DocumentNode { .scalar(DocumentScalar(value ? "true" : "false", .keyword)) }
}
