/// The difference of two texts as `diff -u` writes it.
struct UnifiedDiff {
    /// One line of the difference.
    enum Line: Equatable {
        case same(String)
        case removed(String)
        case added(String)
    }

    let lines: [Line]

    init(_ old: String, _ new: String) {
        let (before, after) = (Self.lines(of: old), Self.lines(of: new))
        let difference = after.difference(from: before)
        let removed = Set(difference.removals.map(Self.offset))
        let added = Set(difference.insertions.map(Self.offset))
        var found: [Line] = []
        var (left, right) = (0, 0)
        while left < before.count || right < after.count {
            if left < before.count, removed.contains(left) {
                found.append(.removed(before[left]))
                left += 1
            } else if right < after.count, added.contains(right) {
                found.append(.added(after[right]))
                right += 1
            } else {
                found.append(.same(before[left]))
                (left, right) = (left + 1, right + 1)
            }
        }
        lines = found
    }

    private static func lines(of text: String) -> [String] {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        return lines
    }

    private static func offset(_ change: CollectionDifference<String>.Change) -> Int {
        switch change {
        case .insert(let offset, _, _), .remove(let offset, _, _): offset
        }
    }

    var isEmpty: Bool {
        lines.allSatisfy { if case .same = $0 { true } else { false } }
    }

    /// Hunks with their heads, without the names of files.
    /// - Parameter context: lines that are the same, around each change.
    func hunks(context: Int = 3) -> [(head: String, lines: [Line])] {
        let changes = lines.indices.filter { if case .same = lines[$0] { false } else { true } }
        var ranges: [Range<Int>] = []
        for change in changes {
            let range = max(0, change - context)..<min(lines.count, change + context + 1)
            if let last = ranges.last, last.upperBound >= range.lowerBound {
                ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
            } else {
                ranges.append(range)
            }
        }
        var (left, right, at) = (0, 0, 0)
        return ranges.map { range in
            for line in lines[at..<range.lowerBound] { Self.count(line, &left, &right) }
            var (leftEnd, rightEnd) = (left, right)
            for line in lines[range] { Self.count(line, &leftEnd, &rightEnd) }
            let head = "@@ -\(Self.span(left, leftEnd)) +\(Self.span(right, rightEnd)) @@"
            (left, right, at) = (leftEnd, rightEnd, range.upperBound)
            return (head, Array(lines[range]))
        }
    }

    private static func count(_ line: Line, _ left: inout Int, _ right: inout Int) {
        switch line {
        case .same: (left, right) = (left + 1, right + 1)
        case .removed: left += 1
        case .added: right += 1
        }
    }

    /// `3,7`, `3` for one line, `0,0` for none.
    private static func span(_ start: Int, _ end: Int) -> String {
        switch end - start {
        case 0: "\(start),0"
        case 1: "\(start + 1)"
        default: "\(start + 1),\(end - start)"
        }
    }

    /// - Parameter name: of what is compared.
    func render(_ name: String, isNew: Bool, isGone: Bool, on terminal: Terminal) -> String {
        var text = terminal.paint("--- \(isNew ? "/dev/null" : name)", .bold) + "\n"
        text += terminal.paint("+++ \(isGone ? "/dev/null" : name)", .bold) + "\n"
        for hunk in hunks() {
            text += terminal.paint(hunk.head, .cyan) + "\n"
            for line in hunk.lines {
                switch line {
                case .same(let words): text += " " + words.printable + "\n"
                case .removed(let words): text += terminal.paint("-" + words.printable, .red) + "\n"
                case .added(let words): text += terminal.paint("+" + words.printable, .green) + "\n"
                }
            }
        }
        return text
    }
}
