import HTTP

/// Finds which routes of a virtual host may match a path, in their order, without asking all of them: a radix tree of
/// what their paths start with. The first of them that matches is the first of all, so the order of the list holds.
struct RouteIndex: Sendable {
    private var exactCase = PathTree(ignoresCase: false)
    private var anyCase = PathTree(ignoresCase: true)
    /// Routes that no start of a path leads to.
    private var others: [UInt32] = []
    private let count: Int

    /// As many lists of candidates are merged without memory of their own; a path on which there are more is matched
    /// against every route.
    private static let mostLists = 24

    /// - Parameter losesParameters: paths are cut at a semicolon, but not for templates: so these are not found by them.
    init(_ conditions: [PathCondition], losesParameters: Bool = false) {
        count = conditions.count
        for (number, condition) in conditions.enumerated() {
            var isWhole = false
            if case .template = condition { isWhole = losesParameters }
            guard !isWhole, let (start, ignoresCase) = condition.literalStart, !start.isEmpty else {
                others.append(UInt32(number))
                continue
            }
            if ignoresCase {
                anyCase.insert(start, UInt32(number))
            } else {
                exactCase.insert(start, UInt32(number))
            }
        }
        exactCase.finish()
        anyCase.finish()
    }

    /// Calls `body` with the numbers of routes that may match, in ascending order, until it says that one does.
    /// - Returns: that number.
    @inline(__always)
    func first(_ path: UnsafeRawBufferPointer?, where body: (Int) -> Bool) -> Int? {
        guard count > 4, let path else { return (0..<count).first(where: body) }
        return withUnsafeTemporaryAllocation(of: Candidates.self, capacity: Self.mostLists) { lists -> Int? in
            var used = 0
            if !others.isEmpty {
                lists[0] = Candidates(tree: 2, next: 0, end: UInt32(others.count))
                used = 1
            }
            guard exactCase.collect(path, 0, lists, &used), anyCase.collect(path, 1, lists, &used) else {
                return (0..<count).first(where: body)
            }
            while used > 0 {
                var (least, place) = (UInt32.max, 0)
                for list in 0..<used {
                    let number = self.number(lists[list])
                    if number < least { (least, place) = (number, list) }
                }
                if body(Int(least)) { return Int(least) }
                lists[place].next += 1
                if lists[place].next == lists[place].end {
                    used -= 1
                    lists[place] = lists[used]
                }
            }
            return nil
        }
    }

    @inline(__always)
    private func number(_ list: Candidates) -> UInt32 {
        switch list.tree {
        case 0: exactCase.numbers[Int(list.next)]
        case 1: anyCase.numbers[Int(list.next)]
        default: others[Int(list.next)]
        }
    }
}

/// A run of ascending numbers.
private struct Candidates {
    var tree: UInt32
    var next: UInt32
    var end: UInt32
}

/// A radix tree over bytes; each node has the numbers of the routes whose start ends there.
private struct PathTree: Sendable {
    private struct Node: Sendable {
        /// The bytes from the parent to here, in `labels`.
        var label: Range<Int>
        /// In `nodes`, next to each other, ordered by their first byte. Built as lists, laid out by `finish`.
        var children: [Int] = []
        var collected: [UInt32] = []
        /// In `numbers`.
        var run: Range<UInt32> = 0..<0
    }

    private var nodes: [Node] = [Node(label: 0..<0)]
    private var labels: [UInt8] = []
    private(set) var numbers: [UInt32] = []
    private let ignoresCase: Bool

    init(ignoresCase: Bool) { self.ignoresCase = ignoresCase }

    mutating func insert(_ key: [UInt8], _ number: UInt32) {
        var node = 0
        var offset = 0
        walk: while offset < key.count {
            for (place, child) in nodes[node].children.enumerated()
            where labels[nodes[child].label.lowerBound] == key[offset] {
                let label = nodes[child].label
                var shared = 0
                while shared < label.count, offset + shared < key.count,
                    labels[label.lowerBound + shared] == key[offset + shared]
                { shared += 1 }
                if shared < label.count {
                    // The child's label is cut in two: a new node stands for its first part.
                    let cut = label.lowerBound + shared
                    nodes.append(Node(label: label.lowerBound..<cut, children: [child]))
                    nodes[child].label = cut..<label.upperBound
                    nodes[node].children[place] = nodes.count - 1
                    node = nodes.count - 1
                } else {
                    node = child
                }
                offset += shared
                continue walk
            }
            let start = labels.count
            labels += key[offset...]
            nodes.append(Node(label: start..<labels.count))
            nodes[node].children.append(nodes.count - 1)
            node = nodes.count - 1
            offset = key.count
        }
        nodes[node].collected.append(number)
    }

    /// Lays numbers out in one array, and children in the order of their bytes.
    mutating func finish() {
        for index in nodes.indices {
            let start = UInt32(numbers.count)
            numbers += nodes[index].collected
            nodes[index].run = start..<UInt32(numbers.count)
            nodes[index].collected = []
            let children = nodes[index].children
            nodes[index].children = children.sorted {
                labels[nodes[$0].label.lowerBound] < labels[nodes[$1].label.lowerBound]
            }
        }
    }

    /// Adds the numbers of all nodes on the way of a path.
    /// - Returns: false where there is no room for them.
    @inline(__always)
    func collect(
        _ path: UnsafeRawBufferPointer, _ tree: UInt32, _ lists: UnsafeMutableBufferPointer<Candidates>,
        _ used: inout Int
    ) -> Bool {
        guard nodes.count > 1 else { return true }
        return labels.withUnsafeBufferPointer { labels in
            nodes.withUnsafeBufferPointer { nodes in
                var node = 0
                var offset = 0
                while offset < path.count, let next = child(of: nodes, node, path[offset], labels) {
                    let label = nodes[next].label
                    guard label.count <= path.count - offset else { return true }
                    for index in 0..<label.count {
                        let byte = path[offset + index]
                        if labels[label.lowerBound + index] != (ignoresCase ? byte.lowerCased : byte) { return true }
                    }
                    offset += label.count
                    node = next
                    let run = nodes[node].run
                    if !run.isEmpty {
                        guard used < lists.count else { return false }
                        lists[used] = Candidates(tree: tree, next: run.lowerBound, end: run.upperBound)
                        used += 1
                    }
                }
                return true
            }
        }
    }

    @inline(__always)
    private func child(
        of nodes: UnsafeBufferPointer<Node>, _ node: Int, _ byte: UInt8, _ labels: UnsafeBufferPointer<UInt8>
    ) -> Int? {
        let wanted = ignoresCase ? byte.lowerCased : byte
        return nodes[node].children.withUnsafeBufferPointer { children in
            var (low, high) = (0, children.count)
            while low < high {
                let middle = (low + high) / 2
                let first = labels[nodes[children[middle]].label.lowerBound]
                if first == wanted { return children[middle] }
                if first < wanted { low = middle + 1 } else { high = middle }
            }
            return nil
        }
    }
}
