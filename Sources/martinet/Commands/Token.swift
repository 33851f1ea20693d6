import ArgumentParser
import ControlPlane
import Documents
import EnvoyAPI
import Protobuf
import Time

struct Token: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make, list and revoke join tokens, by which workloads prove who they are.",
        discussion: """
            A join token stands for one service account of one namespace. A proxy that has no certificate yet shows it \
            once, over TLS, and is given a certificate of that identity; Envoy can carry it in the initial_metadata of \
            its xDS stream as `authorization: Bearer TOKEN`, and `martinet agent` reads it from a file.

            EXAMPLES
              martinet token create --namespace shop --service-account web --ttl 1h
              martinet token list
              martinet token revoke m4yp5q2xga
            """,
        subcommands: [CreateToken.self, ListTokens.self, RevokeToken.self])
}

struct CreateToken: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Make a join token.",
        discussion: """
            Prints the token alone on standard output, and what it is for on standard error. It is shown here and \
            never again: the control plane keeps only a hash of it. Who has it can become that service account until \
            it is past, used up or revoked, so hand it over as you would a password.

            A use is one node that joins. A node that comes again with the same node id, as a proxy does whenever it \
            connects again, does not use the token up again, as long as it is valid.

            EXAMPLES
              martinet token create --namespace shop --service-account web --ttl 1h
              martinet token create --namespace shop --service-account web --ttl 10m --uses 3 > web.token
              martinet token create --namespace edge --service-account gw --ttl 90d --uses 0 -o json

            EXIT CODES
              0   The token is made.
              1   It is not, and nothing has changed.
              64  The command line is wrong.
            """)

    @Option(help: ArgumentHelp("The namespace of the workloads that may join.", valueName: "name"))
    var namespace: String

    @Option(help: ArgumentHelp("Their service account.", valueName: "name"))
    var serviceAccount: String

    @Option(help: ArgumentHelp("How long it is valid, from 1m to 365d: 90s, 10m, 1h30m, 7d.", valueName: "duration"))
    var ttl: DurationArgument

    @Option(help: ArgumentHelp("How many nodes may join with it; 0 for any number.", valueName: "n"))
    var uses = 1

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: text or json.", valueName: "form"))
    var output: TextOrJSON = .text

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if uses < 0 { throw ValidationError("--uses must be 0 or more") }
    }

    func run() throws {
        let order = JoinTokenOrder(
            namespace: namespace, serviceAccount: serviceAccount, validity: ttl.duration, uses: uses == 0 ? nil : uses)
        let answer = try target.call(ControlJoinTokens.create, order.encoded())
        guard let created = try readAnswer({ try CreatedJoinToken(decoding: answer) }) else { throw unreadableAnswer() }
        switch output {
        case .text:
            Terminal.output.line(created.token)
            let nodes = created.entry.uses.map { $0 == 1 ? "one node" : "\($0) nodes" } ?? "any number of nodes"
            Terminal.errors.line(
                "join token \(created.entry.id) lets \(nodes) become service account "
                    + "\(created.entry.serviceAccount) of namespace \(created.entry.namespace) until "
                    + "\(created.entry.expiresAt.rfc3339); it is not shown again")
        case .json:
            let members = [("token", DocumentNode.string(created.token))] + created.entry.members(now: nil)
            Terminal.output.write(DocumentNode.object(members).json())
        }
    }
}

struct ListTokens: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the join tokens, without their secrets.",
        discussion: """
            Tokens that are past are listed for 30 days more.

            STATES
              open      Nodes may join with it.
              used up   As many nodes as it was for have joined; those may come again until it expires.
              expired   It is past.
              revoked   Someone ended it.

            EXAMPLES
              martinet token list
              martinet token list -o json

            EXIT CODES
              0   Shown.
              1   Something is wrong.
              64  The command line is wrong.
            """)

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: table or json.", valueName: "form"))
    var output: TableOrJSON = .table

    @OptionGroup var target: ControlTarget

    func run() throws {
        let answer = try target.call(ControlJoinTokens.list, JoinTokenEntry.listRequest)
        let entries = try readAnswer { try JoinTokenEntry.list(decoding: answer) }
        let now = Timestamp.ofThisMachine()
        switch output {
        case .table: Terminal.output.write(table(entries, now: now))
        case .json:
            let tokens = DocumentNode.list(entries.map { .object($0.members(now: now)) })
            Terminal.output.write(DocumentNode.object([("tokens", tokens)]).json())
        }
    }

    private func table(_ entries: [JoinTokenEntry], now: Timestamp) -> String {
        guard !entries.isEmpty else { return "there are none\n" }
        var table = TextTable(["ID", "NAMESPACE", "SERVICE ACCOUNT", "STATE", "USED", "CREATED", "EXPIRES"])
        for entry in entries {
            let state = entry.state(now: now)
            table.add([
                .init(entry.id), .init(entry.namespace), .init(entry.serviceAccount),
                .init(state, state == "open" ? .green : .dim), .init(entry.usage), .init(entry.createdAt.rfc3339),
                .init(entry.expiresAt.rfc3339),
            ])
        }
        return table.render(on: Terminal.output)
    }
}

struct RevokeToken: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "End a join token, once and for all.",
        discussion: """
            Nobody joins with it from now on. Workloads that joined keep the certificates that they have, and renew \
            them with those; streams that they opened with the token go on.

            EXAMPLES
              martinet token revoke m4yp5q2xga

            EXIT CODES
              0   It is revoked, now or before.
              1   Something is wrong, or there is no such token.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("The id of the token, as `martinet token list` shows it.", valueName: "id"))
    var id: String

    @OptionGroup var target: ControlTarget

    func run() throws {
        let answer = try target.call(ControlJoinTokens.revoke, JoinTokenRevocation(id).encoded())
        guard let entry = try readAnswer({ try JoinTokenEntry(decodingRevoked: answer) }) else {
            throw unreadableAnswer()
        }
        Terminal.output.line("revoked \(entry.id.printable)")
    }
}

extension JoinTokenEntry {
    /// `1/3`; for any number of nodes they are not counted.
    fileprivate var usage: String { uses.map { "\(used)/\($0)" } ?? "any" }

    /// - Parameter now: nil: without the state.
    fileprivate func members(now: Timestamp?) -> [(String, DocumentNode)] {
        var members: [(String, DocumentNode)] = [
            ("id", .string(id)), ("namespace", .string(namespace)), ("service_account", .string(serviceAccount)),
        ]
        if let now { members.append(("state", .string(state(now: now)))) }
        if let uses { members += [("uses", .number(uses)), ("used", .number(used))] }
        return members + [
            ("created_at", .string(createdAt.rfc3339)), ("expires_at", .string(expiresAt.rfc3339)),
        ]
    }
}
