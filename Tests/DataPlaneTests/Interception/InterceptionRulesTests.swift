import Addresses
import Testing

@testable import DataPlane

struct InterceptionRulesTests {
    @Test func everythingIsLedThroughTheProxyButItsOwnConnections() {
        let text = InterceptionRules().setting(.ipv4, current: "")
        #expect(
            text == """
                *nat
                :MARTINET_INBOUND - [0:0]
                :MARTINET_IN_REDIRECT - [0:0]
                :MARTINET_OUTPUT - [0:0]
                :MARTINET_REDIRECT - [0:0]
                -A PREROUTING -p tcp -j MARTINET_INBOUND
                -A OUTPUT -p tcp -j MARTINET_OUTPUT
                -A MARTINET_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
                -A MARTINET_REDIRECT -p tcp -j REDIRECT --to-ports 15001
                -A MARTINET_INBOUND -p tcp --dport 15000 -j RETURN
                -A MARTINET_INBOUND -p tcp --dport 15020 -j RETURN
                -A MARTINET_INBOUND -p tcp --dport 15021 -j RETURN
                -A MARTINET_INBOUND -p tcp --dport 15090 -j RETURN
                -A MARTINET_INBOUND -p tcp -j MARTINET_IN_REDIRECT
                -A MARTINET_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
                -A MARTINET_OUTPUT -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 1337 -j MARTINET_IN_REDIRECT
                -A MARTINET_OUTPUT -o lo ! -d 127.0.0.1/32 -m owner --gid-owner 1337 -j MARTINET_IN_REDIRECT
                -A MARTINET_OUTPUT -m owner --uid-owner 1337 -j RETURN
                -A MARTINET_OUTPUT -m owner --gid-owner 1337 -j RETURN
                -A MARTINET_OUTPUT -d 127.0.0.1/32 -j RETURN
                -A MARTINET_OUTPUT -j MARTINET_REDIRECT
                COMMIT

                """)
    }

    @Test func whatIsExcludedGoesPastTheProxyAndBlocksKeepToTheirFamily() throws {
        var rules = InterceptionRules()
        (rules.proxyUsers, rules.proxyGroups) = ([], [7])
        rules.excludedInboundPorts = [22, 22]
        rules.includedInboundPorts = [8080]
        rules.excludedOutboundPorts = [5432]
        rules.excludedUsers = [0]
        rules.excludedBlocks = [try #require(AddressBlock("10.1.0.0/16")), try #require(AddressBlock("fd00::/8"))]
        rules.includedBlocks = [try #require(AddressBlock("10.0.0.0/8"))]
        let lines = rules.setting(.ipv4, current: "").split(separator: "\n").map(String.init)
        #expect(
            lines.filter { $0.hasPrefix("-A MARTINET_INBOUND") } == [
                "-A MARTINET_INBOUND -p tcp --dport 22 -j RETURN",
                "-A MARTINET_INBOUND -p tcp --dport 8080 -j MARTINET_IN_REDIRECT",
            ])
        #expect(
            lines.filter { $0.hasPrefix("-A MARTINET_OUTPUT") } == [
                "-A MARTINET_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN",
                "-A MARTINET_OUTPUT -o lo ! -d 127.0.0.1/32 -m owner --gid-owner 7 -j MARTINET_IN_REDIRECT",
                "-A MARTINET_OUTPUT -m owner --gid-owner 7 -j RETURN",
                "-A MARTINET_OUTPUT -m owner --uid-owner 0 -j RETURN",
                "-A MARTINET_OUTPUT -d 127.0.0.1/32 -j RETURN",
                "-A MARTINET_OUTPUT -p tcp --dport 5432 -j RETURN",
                "-A MARTINET_OUTPUT -d 10.1.0.0/16 -j RETURN",
                "-A MARTINET_OUTPUT -d 10.0.0.0/8 -j MARTINET_REDIRECT",
            ])
        #expect(rules.setting(.ipv6, current: "").contains("-A MARTINET_OUTPUT -d fd00::/8 -j RETURN\n"))
        #expect(!rules.setting(.ipv6, current: "").contains("10."))
    }

    private let present = """
        *nat
        :PREROUTING ACCEPT [0:0]
        :MARTINET_INBOUND - [0:0]
        :MARTINET_REDIRECT - [0:0]
        -A PREROUTING -p tcp -j MARTINET_INBOUND
        -A PREROUTING -p tcp -j OTHERS
        -A OUTPUT -p tcp -j MARTINET_OUTPUT
        -A OUTPUT -p tcp -j MARTINET_OUTPUT
        -A MARTINET_REDIRECT -p tcp -j REDIRECT --to-ports 15001
        COMMIT
        """

    @Test func settingAgainReplacesAndLeavesWhatIsOthers() {
        let lines = InterceptionRules().setting(.ipv4, current: present).split(separator: "\n").map(String.init)
        #expect(
            lines.filter { $0.hasPrefix("-D") } == [
                "-D PREROUTING -p tcp -j MARTINET_INBOUND", "-D OUTPUT -p tcp -j MARTINET_OUTPUT",
                "-D OUTPUT -p tcp -j MARTINET_OUTPUT",
            ])
    }

    @Test func removingTakesOnlyWhatIsThere() {
        #expect(InterceptionRules.removing(current: "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n") == nil)
        #expect(
            InterceptionRules.removing(current: present) == """
                *nat
                -D PREROUTING -p tcp -j MARTINET_INBOUND
                -D OUTPUT -p tcp -j MARTINET_OUTPUT
                -D OUTPUT -p tcp -j MARTINET_OUTPUT
                -F MARTINET_INBOUND
                -F MARTINET_REDIRECT
                -X MARTINET_INBOUND
                -X MARTINET_REDIRECT
                COMMIT

                """)
        #expect(InterceptionRules.ours(in: present).count == 6)
    }

    @Test func onlyAMachineWithoutIPv6AddressesHasNoIPv6() {
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n"
        #expect(InterceptionRules.Family.ipv6.isMissing(addresses: nil))
        #expect(InterceptionRules.Family.ipv6.isMissing(addresses: "\n"))
        #expect(!InterceptionRules.Family.ipv6.isMissing(addresses: loopback))
        #expect(!InterceptionRules.Family.ipv4.isMissing(addresses: nil))
    }

    @Test func chainsWithoutTheJumpsToThemLeadNobody() {
        let jumps = ["-A PREROUTING -p tcp -j MARTINET_INBOUND", "-A OUTPUT -p tcp -j MARTINET_OUTPUT"]
        let chains = "*nat\n:MARTINET_INBOUND - [0:0]\n:MARTINET_OUTPUT - [0:0]\n"
        #expect(InterceptionRules.lead(in: chains + jumps.joined(separator: "\n")))
        for jump in jumps { #expect(!InterceptionRules.lead(in: chains + jump)) }
        #expect(!InterceptionRules.lead(in: chains))
    }

    @Test func aStepIsTakenBackToWhatWasThere() {
        let set = InterceptionRules().setting(.ipv4, current: "")
        #expect(InterceptionRules.returning(to: "*nat\nCOMMIT\n", from: "*nat\nCOMMIT\n") == nil)
        #expect(
            InterceptionRules.returning(to: "*nat\nCOMMIT\n", from: set) == InterceptionRules.removing(current: set))
        #expect(
            InterceptionRules.returning(to: present, from: set) == """
                *nat
                :MARTINET_INBOUND - [0:0]
                :MARTINET_REDIRECT - [0:0]
                -D PREROUTING -p tcp -j MARTINET_INBOUND
                -D OUTPUT -p tcp -j MARTINET_OUTPUT
                -A PREROUTING -p tcp -j MARTINET_INBOUND
                -A OUTPUT -p tcp -j MARTINET_OUTPUT
                -A OUTPUT -p tcp -j MARTINET_OUTPUT
                -A MARTINET_REDIRECT -p tcp -j REDIRECT --to-ports 15001
                -F MARTINET_IN_REDIRECT
                -F MARTINET_OUTPUT
                -X MARTINET_IN_REDIRECT
                -X MARTINET_OUTPUT
                COMMIT

                """)
    }

    @Test func thePortsOfTheProxyAndExcludedOnesAreSpared() {
        var rules = InterceptionRules()
        #expect(rules.sparesInbound(15000) && !rules.sparesInbound(22))
        rules.excludedInboundPorts.append(22)
        #expect(rules.sparesInbound(22))
        (rules.excludedInboundPorts, rules.includedInboundPorts) = ([], [8080])
        #expect(rules.sparesInbound(22) && !rules.sparesInbound(8080))
    }
}
