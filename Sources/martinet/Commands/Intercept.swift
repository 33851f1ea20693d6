import Addresses
import ArgumentParser
import DataPlane
import Foundation

struct Intercept: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Have the kernel lead a workload's connections through its proxy.",
        discussion: """
            Sets rules of iptables in the network namespace that it runs in: TCP connections that come in go to the \
            proxy's port 15006, those that programs here open go to 15001. The proxy's own go straight, told by the \
            user or group that it runs as. IPv4 and IPv6 alike; where no interface has an IPv6 address IPv6 is left \
            out. The rules are in four chains of their own (MARTINET_…), set in one step: setting them again replaces them, \
            and removing them leaves nothing behind. It takes root, or CAP_NET_ADMIN and CAP_NET_RAW.

            EXAMPLES
              In an init container, before a proxy that runs as user 1337:
                martinet intercept add
              On a machine that people log in to, past the proxy by SSH's port:
                martinet intercept add --exclude-inbound-port 22
              A database is reached past the proxy, and nothing of the user `backup` is led through it:
                martinet intercept add --exclude-outbound-port 5432 --exclude-user backup
              See what is set, and take it away:
                martinet intercept show
                martinet intercept remove

            EXIT CODES
              0   It is done.
              1   The rules could not be set.
              64  The command line is wrong.
            """,
        subcommands: [Add.self, Remove.self, Show.self])

    struct Families: ParsableArguments {
        @Flag(help: "Leave IPv6 alone.")
        var onlyIpv4 = false

        var all: [InterceptionRules.Family] { onlyIpv4 ? [.ipv4] : InterceptionRules.Family.allCases }
    }

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Set the rules, in place of those that are there.")

        @OptionGroup var families: Families

        @Option(help: ArgumentHelp("Where the proxy takes what comes in.", valueName: "port"))
        var inboundPort: UInt16 = 15006

        @Option(help: ArgumentHelp("Where the proxy takes what goes out.", valueName: "port"))
        var outboundPort: UInt16 = 15001

        @Option(
            help: ArgumentHelp(
                "Users whose connections are the proxy's own; repeatable. (default: 1337)", valueName: "user"))
        var proxyUser: [String] = []

        @Option(
            help: ArgumentHelp(
                "Groups likewise; repeatable. (default: 1337 where no user is named)", valueName: "group"))
        var proxyGroup: [String] = []

        @Option(
            help: ArgumentHelp(
                "Ports where connections come in past the proxy; repeatable, beside 15000, 15020, 15021 and 15090.",
                valueName: "port"))
        var excludeInboundPort: [UInt16] = []

        @Option(help: ArgumentHelp("Only these ports come in through the proxy; repeatable.", valueName: "port"))
        var includeInboundPort: [UInt16] = []

        @Option(help: ArgumentHelp("Ports that are connected to past the proxy; repeatable.", valueName: "port"))
        var excludeOutboundPort: [UInt16] = []

        @Option(
            help: ArgumentHelp("Users whose connections go out past the proxy; repeatable.", valueName: "user"))
        var excludeUser: [String] = []

        @Option(
            help: ArgumentHelp(
                "Blocks that are connected to past the proxy, such as 10.1.0.0/16; repeatable.", valueName: "block"))
        var excludeCidr: [String] = []

        @Option(help: ArgumentHelp("Only these blocks go out through the proxy; repeatable.", valueName: "block"))
        var includeCidr: [String] = []

        @Flag(help: "Print what would be given to iptables-restore, and set nothing.")
        var dryRun = false

        func validate() throws { _ = try rules() }

        private func rules() throws -> InterceptionRules {
            var rules = InterceptionRules()
            (rules.inboundPort, rules.outboundPort) = (inboundPort, outboundPort)
            if !proxyUser.isEmpty || !proxyGroup.isEmpty {
                rules.proxyUsers = try proxyUser.map { try Self.user($0, of: "--proxy-user") }
                rules.proxyGroups = try proxyGroup.map(Self.group)
            }
            rules.excludedInboundPorts += excludeInboundPort
            rules.includedInboundPorts = includeInboundPort
            rules.excludedOutboundPorts = excludeOutboundPort
            rules.excludedUsers = try excludeUser.map { try Self.user($0, of: "--exclude-user") }
            rules.excludedBlocks = try excludeCidr.map { try Self.block($0, of: "--exclude-cidr") }
            rules.includedBlocks = try includeCidr.map { try Self.block($0, of: "--include-cidr") }
            return rules
        }

        func run() throws {
            let rules = try rules()
            if dryRun {
                for family in families.all {
                    let current: String
                    do {
                        guard let present = try KernelRules.current(family) else { continue }
                        current = present
                    } catch {
                        Terminal.errors.write(
                            "note: what is set now is not known, and would be taken away first: "
                                + "\((error as? CommandProblem)?.lines.first ?? "\(error)")\n")
                        current = ""
                    }
                    print(rules.setting(family, current: current), terminator: "")
                }
                return
            }
            // All is read before anything is set, and what is set is taken back when a later family fails: half of the
            // rules would look like all of them.
            let present = try families.all.compactMap { family in try KernelRules.current(family).map { (family, $0) } }
            var done: [(family: InterceptionRules.Family, earlier: String)] = []
            do {
                for (family, current) in present {
                    try KernelRules.restore(family, rules.setting(family, current: current))
                    done.append((family, current))
                }
            } catch var problem as CommandProblem {
                for (family, earlier) in done {
                    do {
                        guard let now = try KernelRules.current(family),
                            let text = InterceptionRules.returning(to: earlier, from: now)
                        else { continue }
                        try KernelRules.restore(family, text)
                    } catch let further as CommandProblem {
                        problem.lines += further.lines.map { "the rules of \(family.rawValue) stay: \($0)" }
                    }
                }
                throw problem
            }
            if !rules.sparesInbound(22), KernelRules.isListening(22) {
                Terminal.errors.write(
                    "warning: SSH's port 22 is led through the proxy too; to log in past it set the rules with "
                        + "--exclude-inbound-port 22\n")
            }
        }

        private static func user(_ text: String, of option: String) throws -> UInt32 {
            if let number = UInt32(text) { return number }
            guard let entry = getpwnam(text) else { throw ValidationError("\(option) \(text): no such user") }
            return entry.pointee.pw_uid
        }

        private static func group(_ text: String) throws -> UInt32 {
            if let number = UInt32(text) { return number }
            guard let entry = getgrnam(text) else { throw ValidationError("--proxy-group \(text): no such group") }
            return entry.pointee.gr_gid
        }

        private static func block(_ text: String, of option: String) throws -> AddressBlock {
            guard let block = AddressBlock(text) else {
                throw ValidationError("\(option) \(text) is no block of addresses; write for example 10.1.0.0/16")
            }
            return block
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take the rules away.")

        @OptionGroup var families: Families

        func run() throws {
            for family in families.all {
                guard let current = try KernelRules.current(family),
                    let text = InterceptionRules.removing(current: current)
                else { continue }
                try KernelRules.restore(family, text)
            }
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print the rules that are set.")

        @OptionGroup var families: Families

        func run() throws {
            for family in families.all {
                guard let current = try KernelRules.current(family) else { continue }
                for line in InterceptionRules.ours(in: current) { print("\(family.rawValue) \(line)") }
            }
        }
    }
}

/// The kernel's rules, by the programs that every distribution has for them.
enum KernelRules {
    /// What `iptables-save -t nat` prints.
    /// - Returns: nil: the machine has no such family.
    static func current(_ family: InterceptionRules.Family) throws -> String? {
        let further = family == .ipv6 ? "; or leave IPv6 alone with --only-ipv4" : ""
        func isMissing() -> Bool {
            family.isMissing(addresses: try? String(contentsOfFile: "/proc/net/if_inet6", encoding: .utf8))
        }
        let problem: CommandProblem
        do {
            let (status, output, errors) = try run(family.saveProgram, ["-t", "nat"])
            if status == 0 { return output }
            problem = CommandProblem("\(family.saveProgram): \(line(errors))", hint: hint(errors) + further)
        } catch let error as CommandProblem {
            problem = CommandProblem(lines: error.lines, hint: error.hint.map { $0 + further })
        }
        if isMissing() { return nil }
        throw problem
    }

    /// Whether a program here listens at a TCP port. Source: proc(5), `/proc/net/tcp`; 0A is the state LISTEN.
    static func isListening(_ port: UInt16) -> Bool {
        let digits = String(port, radix: 16, uppercase: true)
        let wanted = ":" + String(repeating: "0", count: 4 - digits.count) + digits
        return ["/proc/net/tcp", "/proc/net/tcp6"].contains { path in
            ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").split(separator: "\n").contains { line in
                let words = line.split(separator: " ")
                return words.count > 3 && words[1].hasSuffix(wanted) && words[3] == "0A"
            }
        }
    }

    static func restore(_ family: InterceptionRules.Family, _ text: String) throws {
        let (status, _, errors) = try run(family.restoreProgram, ["--noflush", "--wait", "5"], input: text)
        guard status == 0 else {
            throw CommandProblem("\(family.restoreProgram): \(line(errors))", hint: hint(errors))
        }
    }

    private static func line(_ text: String) -> String {
        text.split(separator: "\n").joined(separator: "; ")
    }

    private static func hint(_ errors: String) -> String {
        errors.contains("ermission") || errors.contains("must be root")
            ? "run it as root, or with CAP_NET_ADMIN and CAP_NET_RAW"
            : "see that the kernel has the nat table and owner match"
    }

    private static func run(
        _ program: String, _ arguments: [String], input: String = ""
    ) throws -> (status: Int32, output: String, errors: String) {
        let places = ["/usr/sbin/", "/sbin/", "/usr/bin/", "/usr/local/sbin/"]
        guard let path = places.map({ $0 + program }).first(where: FileManager.default.isExecutableFile) else {
            throw CommandProblem("\(program) is not there", hint: "install the package iptables")
        }
        return try ChildCommand.run(path, arguments, input: input)
    }
}

/// A program run to its end. Not Foundation's: that one needs a loopback interface, which a new network namespace has
/// not.
private enum ChildCommand {
    static func run(
        _ path: String, _ arguments: [String], input: String
    ) throws -> (status: Int32, output: String, errors: String) {
        let folder = FileManager.default.temporaryDirectory.path + "/martinet-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let files = ["in", "out", "errors"].map { folder + "/" + $0 }
        try input.write(toFile: files[0], atomically: false, encoding: .utf8)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, files[0], O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, files[1], O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, files[2], O_WRONLY | O_CREAT, 0o600)
        var words = ([path] + arguments).map { strdup($0) } + [nil]
        var environment = [strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil]
        defer { for word in words + environment { free(word) } }
        var child = pid_t()
        let result = posix_spawn(&child, path, &actions, nil, &words, &environment)
        guard result == 0 else {
            throw CommandProblem("\(path) cannot be run: \(String(cString: strerror(result)))")
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        // The low bits tell of a signal, the next eight are the exit code.
        let code = status & 0x7F == 0 ? (status >> 8) & 0xFF : -1
        func text(_ file: String) -> String { (try? String(contentsOfFile: file, encoding: .utf8)) ?? "" }
        return (code, text(files[1]), text(files[2]))
    }
}
