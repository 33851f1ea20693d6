import ArgumentParser
import ControlPlane
import Documents
import EnvoyAPI
import Protobuf
import Time

struct JournalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "journal",
        abstract: "Show the newest certificates that were issued: to whom, by whom, until when, and why.",
        discussion: """
            REASONS
              first     A proxy had none.
              renewal   Half the life of the one before was over.
              rotation  The authority of the one before is being replaced.
              csr       A workload with a key of its own asked for it.
              server    The control plane's own.

            EXAMPLES
              martinet ca journal
              martinet ca journal --spiffe-id spiffe://cluster.local/ns/shop/sa/web --limit 10 -o json

            EXIT CODES
              0   Shown.
              1   Something is wrong.
              64  The command line is wrong.
            """)

    @Option(name: .customLong("spiffe-id"), help: ArgumentHelp("Only those of this identity.", valueName: "id"))
    var spiffeID = ""

    @Option(help: ArgumentHelp("How many, the newest first.", valueName: "n"))
    var limit = 100

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: table or json.", valueName: "form"))
    var output: TableOrJSON = .table

    @OptionGroup var target: ControlTarget

    func validate() throws {
        guard (1...JournalOrder.longest).contains(limit) else {
            throw ValidationError("--limit must be 1 to \(JournalOrder.longest)")
        }
    }

    func run() throws {
        let order = JournalOrder(spiffeID: spiffeID, limit: limit)
        let answer = try target.call(ControlAuthority.journal, order.encoded())
        let entries = try readAnswer { try IssuedEntry.list(decoding: answer) }
        switch output {
        case .table: Terminal.output.write(table(entries))
        case .json:
            let list = DocumentNode.list(entries.map { .object($0.members) })
            Terminal.output.write(DocumentNode.object([("issued", list)]).json())
        }
    }

    private func table(_ entries: [IssuedEntry]) -> String {
        guard !entries.isEmpty else { return "there are none\n" }
        var table = TextTable(["ISSUED", "IDENTITY", "HOLDER", "REASON", "NOT AFTER", "AUTHORITY", "SERIAL"])
        for entry in entries {
            table.add([
                .init(entry.issuedAt.rfc3339), .init(entry.spiffeID), .init(entry.holder), .init(entry.reason),
                .init(entry.validity.upperBound.rfc3339), .init(String(entry.authority.prefix(12))),
                .init(entry.serial),
            ])
        }
        return table.render(on: Terminal.output)
    }
}

extension IssuedEntry {
    fileprivate var members: [(String, DocumentNode)] {
        [
            ("serial", .string(serial)), ("spiffe_id", .string(spiffeID)), ("holder", .string(holder)),
            ("reason", .string(reason)), ("issued_at", .string(issuedAt.rfc3339)),
            ("not_before", .string(validity.lowerBound.rfc3339)), ("not_after", .string(validity.upperBound.rfc3339)),
            ("authority", .string(authority)),
        ]
    }
}

struct BundleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle",
        abstract: "Print what peers should trust: the roots, or the whole SPIFFE bundle.",
        discussion: """
            EXAMPLES
              martinet ca bundle > roots.pem
              martinet ca bundle --format spiffe | jq .keys

            EXIT CODES
              0   Printed.
              1   Something is wrong.
              64  The command line is wrong.
            """)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case pem, spiffe
    }

    @Option(help: ArgumentHelp("pem, or spiffe for a SPIFFE bundle document with the JWT keys.", valueName: "form"))
    var format: Format = .pem

    @OptionGroup var target: ControlTarget

    func run() throws {
        let answer = try target.call(ControlAuthority.bundle, PublishedBundle.request)
        let bundle = try readAnswer { try PublishedBundle(decoding: answer) }
        let text =
            switch format {
            case .pem: bundle.pem
            case .spiffe: bundle.spiffe
            }
        Terminal.output.write(text.hasSuffix("\n") ? text : text + "\n")
    }
}
