package discover

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxNesting bounds how deep brackets, or an expression's operators, may nest in what is handed to the HCL parser, which
// calls itself for each level: a file of nothing but "(" would end the process, not only the parse.
const maxNesting = 1000

// tooDeep says whether HCL source nests deeper than maxNesting, and where.
func tooDeep(src []byte, lex func([]byte, string, hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics), start hcl.Pos) (at hcl.Pos, deep bool) {
	if len(src) <= maxNesting {
		return at, false
	}
	tokens, _ := lex(src, "", start)
	levels := []int{0} // of operators in the present expression, per open bracket
	sum := 0
	reset := func() {
		sum -= levels[len(levels)-1]
		levels[len(levels)-1] = 0
	}
	var brackets []hclsyntax.TokenType
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenOBrace, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc,
			hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			if t.Type == hclsyntax.TokenOBrack || t.Type == hclsyntax.TokenTemplateControl { // a[0][0][0] and %{if}%{if} nest too
				levels[len(levels)-1]++
				sum++
			}
			levels = append(levels, 0)
			brackets = append(brackets, t.Type)
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			if len(brackets) > 0 {
				reset()
				levels = levels[:len(levels)-1]
				brackets = brackets[:len(brackets)-1]
			}
		case hclsyntax.TokenComma:
			reset()
		case hclsyntax.TokenNewline:
			if len(brackets) == 0 || brackets[len(brackets)-1] == hclsyntax.TokenOBrace {
				reset()
			}
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
			hclsyntax.TokenQuestion, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenGreaterThan,
			hclsyntax.TokenGreaterThanEq, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq:
			levels[len(levels)-1]++
			sum++
		}
		if len(brackets)+sum > maxNesting {
			return t.Range.Start, true
		}
	}
	return at, false
}

// tooDeepJSON is tooDeep for JSON.
func tooDeepJSON(src []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > maxNesting {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}
