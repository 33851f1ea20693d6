import ArgumentParser
import ControlPlane
import EnvoyAPI
import Protobuf
import XDS

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what every connected proxy was sent, acknowledged and rejected.",
        discussion: """
            One line for each type of resource that a proxy has asked for. A rejected type is followed by the proxy's \
            own words; the proxy goes on with what it acknowledged last. Below are the problems of the configuration \
            itself: files that cannot be read, and references to what is not there.

            STATES
              synced    It has what it was sent last.
              pending   It was sent something, and has not answered yet.
              rejected  It refused something, and was not sent a replacement for it yet.
              waiting   It asked for something that is not there.

            EXAMPLES
              martinet status
              martinet status --node web-1 -o json
              martinet status --quiet || echo "some proxy rejects its configuration"

            EXIT CODES
              0   No proxy rejects anything.
              1   A proxy rejects something, or the status cannot be had.
              64  The command line is wrong.
            """)

    @Option(help: ArgumentHelp("Only the proxy with this node id.", valueName: "id"))
    var node = ""

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: table, yaml or json.", valueName: "form"))
    var output: TableOrDocument = .table

    @Flag(name: .shortAndLong, help: "Print nothing; the exit code tells.")
    var quiet = false

    @OptionGroup var target: ControlTarget

    func run() throws {
        let answer = try target.call(ControlControl.status, StatusOrder(nodeID: node).encoded())
        let status: MeshStatus
        do {
            status = try MeshStatus(decoding: answer)
        } catch {
            throw CommandProblem(
                "the control plane's answer cannot be read: \(error)", hint: "use the same version here and there")
        }
        if !quiet {
            Terminal.output.write(try text(status, answer))
            if output == .table, let rollout = try RolloutText.ask(RolloutRequest(), target), rollout.isUnderWay {
                let color: Terminal.Color = rollout.phase == .held ? .red : .yellow
                Terminal.output.line(Terminal.output.paint("roll-out:", color) + " " + RolloutText.line(rollout))
            }
        }
        if status.proxies.contains(where: \.isRejected) { throw ExitCode(1) }
    }

    private func text(_ status: MeshStatus, _ answer: [UInt8]) throws -> String {
        switch output {
        case .table: return table(status)
        case .yaml, .json:
            let arena = Arena()
            do {
                let limits = DecodingLimits(depth: 100, elements: 20_000_000, memory: 1 << 30)
                let message = try arena.decode(ControlStatusResponse.self, from: answer, limits: limits)
                return try Protobuf.text(
                    of: DynamicMessage(message), TextStyle(output == .yaml ? .yaml : .json), types: envoyTypes)
            } catch {
                throw CommandProblem("the status cannot be printed: \(error)")
            }
        }
    }

    private func table(_ status: MeshStatus) -> String {
        let terminal = Terminal.output
        var text = ""
        if status.proxies.isEmpty {
            text +=
                node.isEmpty ? "no proxy is connected\n" : "no proxy with the node id \(node.printable) is connected\n"
        } else {
            var table = TextTable([
                "NODE", "CLUSTER", "AGENT", "PEER", "TRANSPORT", "VARIANT", "AGE", "TYPE", "STATE", "SENT", "ACKED",
                "NAMES",
            ])
            for proxy in status.proxies { add(proxy, to: &table) }
            text += table.render(on: terminal)
        }
        for proxy in status.proxies {
            for type in proxy.types where type.isRejected {
                text +=
                    terminal.paint("rejected:", .red)
                    + " \(proxy.nodeID.printable) \(ResourceType.shortName(ofURL: type.typeURL)) "
                    + "\(shortVersion(type.rejectedVersion)): \(type.errorDetail.printable)\n"
            }
        }
        for problem in status.problems { text += terminal.paint("problem:", .yellow) + " " + problem.printable + "\n" }
        return text
    }

    private func add(_ proxy: ProxyStatus, to table: inout TextTable) {
        var start: [TextTable.Cell] = [
            .init(proxy.nodeID), .init(proxy.nodeCluster), .init(proxy.userAgent), .init(proxy.peer),
            .init(proxy.transport), .init(proxy.variant), .init(Self.age(proxy.connectedSeconds)),
        ]
        if proxy.types.isEmpty { table.add(start) }
        for type in proxy.types {
            let color: Terminal.Color? =
                switch type.state {
                case "synced": .green
                case "rejected": .red
                default: .yellow
                }
            let names = type.isWildcard ? ["*"] : []
            let count = type.subscribedNames > 0 ? ["\(type.subscribedNames)"] : []
            table.add(
                start + [
                    .init(ResourceType.shortName(ofURL: type.typeURL)), .init(type.state, color),
                    .init(shortVersion(type.sentVersion)), .init(shortVersion(type.acknowledgedVersion)),
                    .init((names + count).joined(separator: "+")),
                ])
            // The rest of a proxy's lines tell of its other types.
            start = start.map { _ in .init("") }
        }
    }

    /// `3s`, `12m`, `5h`, `8d`.
    static func age(_ seconds: Double) -> String {
        switch seconds {
        case ..<120: "\(Int(seconds))s"
        case ..<7_200: "\(Int(seconds / 60))m"
        case ..<172_800: "\(Int(seconds / 3_600))h"
        default: "\(Int(seconds / 86_400))d"
        }
    }
}
