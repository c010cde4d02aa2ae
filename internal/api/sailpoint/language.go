package sailpoint

import (
	"golang.org/x/text/language"
)

// languages are those that generic messages are in; the first is the default.
var languages = []language.Tag{language.AmericanEnglish, language.German, language.French, language.Spanish}

var matcher = language.NewMatcher(languages)

// maxAcceptLanguage is how much of the header is looked at.
const maxAcceptLanguage = 1000

// languageFor chooses the language of an answer by the Accept-Language header
// (RFC 9110, section 12.5.4); asked is false where it names none that we have.
func languageFor(header string) (index int, asked bool) {
	if header == "" || len(header) > maxAcceptLanguage {
		return 0, false
	}
	wanted, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(wanted) == 0 {
		return 0, false
	}
	_, index, confidence := matcher.Match(wanted...)
	if confidence < language.High {
		return 0, false
	}
	return index, true
}

// reason is what a message says in general, in each of the languages.
type reason [4]string

var (
	unreadable = reason{
		"The request could not be read.",
		"Die Anfrage konnte nicht gelesen werden.",
		"La requête n'a pas pu être lue.",
		"No se pudo leer la solicitud.",
	}
	meaningless = reason{
		"The request was syntactically correct but its content is semantically invalid.",
		"Die Anfrage ist syntaktisch richtig, aber ihr Inhalt ist ungültig.",
		"La requête est syntaxiquement correcte, mais son contenu n'est pas valide.",
		"La sintaxis de la solicitud es correcta, pero su contenido no es válido.",
	}
	incomplete = reason{
		"The request was syntactically correct but required data is missing or empty.",
		"Die Anfrage ist syntaktisch richtig, aber notwendige Angaben fehlen oder sind leer.",
		"La requête est syntaxiquement correcte, mais des données requises sont absentes ou vides.",
		"La sintaxis de la solicitud es correcta, pero faltan datos obligatorios o están vacíos.",
	}
	overLimit = reason{
		"The request would exceed a limit.",
		"Die Anfrage würde eine Grenze überschreiten.",
		"La requête dépasserait une limite.",
		"La solicitud superaría un límite.",
	}
	conflicting = reason{
		"The request conflicts with something that exists already.",
		"Die Anfrage widerspricht etwas, das es schon gibt.",
		"La requête est en conflit avec un élément existant.",
		"La solicitud entra en conflicto con algo que ya existe.",
	}
	forbidden = reason{
		"The server understood the request but refuses to authorize it.",
		"Der Server hat die Anfrage verstanden, erlaubt sie aber nicht.",
		"Le serveur a compris la requête mais refuse de l'autoriser.",
		"El servidor entendió la solicitud, pero se niega a autorizarla.",
	}
	absent = reason{
		"The requested object was not found.",
		"Das angefragte Objekt wurde nicht gefunden.",
		"L'objet demandé est introuvable.",
		"No se encontró el objeto solicitado.",
	}
	fault = reason{
		"An internal fault occurred.",
		"Ein interner Fehler ist aufgetreten.",
		"Une erreur interne s'est produite.",
		"Se produjo un error interno.",
	}
)
